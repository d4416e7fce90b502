"""A process of ours inherits what the one list names, and nothing that steers it."""

import pytest

from opanel_agent.system import environment

INHERITED = {
    "HOME": "/h",
    "XDG_STATE_HOME": "/s",
    "XDG_CONFIG_DIRS": "/evil",
    "LANG": "tr_TR.UTF-8",
    "DO_NOT_TRACK": "1",
    "OPANEL_AGENT_DO_NOT_TRACK": "0",
    "do_not_track": "1",
    "CREDENTIALS_DIRECTORY": "/c",
    "JOURNAL_STREAM": "8:1",
    "PATH": "/evil",
    "PYTHONPATH": "/evil",
    "LD_PRELOAD": "/evil",
    "HTTPS_PROXY": "evil",
    "SSL_CERT_FILE": "/evil",
    "NOTIFY_SOCKET": "/n",
    "WATCHDOG_USEC": "1",
    "TOKEN": "x",
}
ALWAYS = {"PATH", "LANG", "DO_NOT_TRACK", "OPANEL_AGENT_DO_NOT_TRACK", "do_not_track"}


@pytest.mark.parametrize(
    ("user_folders", "service", "more"),
    [
        (False, False, set()),
        (True, False, {"HOME", "XDG_STATE_HOME"}),
        (False, True, {"CREDENTIALS_DIRECTORY", "JOURNAL_STREAM"}),
        (True, True, {"HOME", "XDG_STATE_HOME", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM"}),
    ],
)
def test_only_the_named_variables_are_inherited(*, user_folders: bool, service: bool, more: set[str]) -> None:
    selected = environment.select(INHERITED, user_folders=user_folders, service=service)
    assert set(selected) == ALWAYS | more
    assert not any("evil" in value for value in selected.values())


def test_nothing_is_invented_but_the_search_path() -> None:
    assert environment.select({}, user_folders=True, service=True) == {"PATH": environment.PATH}
