"""The table of commands has a handler for each row, an intent of evaluate's for each route, and no row twice."""

import ast
import inspect
from pathlib import Path

import pytest

import opanel_agent
from opanel_agent.cli import main
from opanel_agent.core.commands import COMMANDS, EXCHANGE, OPTION_TYPES, ROUTES, Command, Route
from opanel_agent.evaluate.handlers import HANDLERS
from opanel_agent.evaluate.main import ROUTINES

CLI = Path(opanel_agent.__file__).parent / "cli"
POSTS = tuple(route for methods in ROUTES.values() for route in methods.values() if route.method == "POST")
# Started by the daemon alone.
OF_THE_DAEMON = {"start", "tick"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words))
def test_a_row_s_handler_is_a_function_of_its_module(command: Command) -> None:
    found = main.handler(command)
    module, _, name = command.handler.partition(":")
    assert inspect.isfunction(found)
    assert (found.__module__, found.__name__) == (f"opanel_agent.cli.{module}", name)


def test_no_words_stand_twice() -> None:
    words = [command.words for command in COMMANDS]
    assert len(set(words)) == len(words)


def test_longer_words_stand_before_those_they_begin_with() -> None:
    for place, command in enumerate(COMMANDS):
        assert not any(later.words[: len(command.words)] == command.words for later in COMMANDS[place + 1 :])


def test_every_intent_of_evaluate_is_a_route_s_or_the_daemon_s() -> None:
    assert {*HANDLERS, *ROUTINES} == {route.intent for route in POSTS} | {EXCHANGE} | OF_THE_DAEMON


@pytest.mark.parametrize("route", POSTS, ids=lambda route: route.path)
def test_every_option_of_a_route_has_a_type(route: Route) -> None:
    assert {*route.options} <= OPTION_TYPES.keys()


def test_every_type_of_an_option_is_some_route_s() -> None:
    assert OPTION_TYPES.keys() == {name for route in POSTS for name in route.options}


def test_the_command_line_asks_for_the_table_s_paths_alone() -> None:
    """Every path in the sources of the command line is one of the table's."""
    found = {
        node.value
        for path in CLI.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/v1/")
    }
    assert found <= ROUTES.keys()
