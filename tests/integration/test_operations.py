"""docs/operations.md, held to what it tells an administrator to type: playbook, units, rules, files and options."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.command_line import Terminal
from fixtures.daemon.fake_daemon import DAY, NOW, answer, fake_daemon
from opanel_agent.cli.parser import find, read
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.commands import COMMANDS
from opanel_agent.core.consent import consent_file
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.system.storage import paths
from opanel_agent.system.storage.resources import installed_notice

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CONTRACT: Final = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
INSTALLER: Final = (ROOT / "install.sh").read_text(encoding="utf-8")
READS_YAML: Final = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def yaml(text: str) -> Any:
    """What a YAML parser makes of it: Debian's, which the tests' own environments need not have."""
    python = shutil.which("python3", path="/usr/bin")
    if python is None or subprocess.run([python, "-c", "import yaml"], capture_output=True, check=False).returncode:
        pytest.skip("python3-yaml is not installed (apt install python3-yaml)")
    ran = subprocess.run([python, "-c", READS_YAML], input=text, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def playbook() -> dict[str, Any]:
    (play,) = yaml(blocks("yaml")[0])
    assert isinstance(play, dict)
    return play


def typed(play: dict[str, Any]) -> Iterator[list[str]]:
    """Every command of the playbook, what is filled in as a word."""
    for task in play["tasks"]:
        for name, arguments in task.items():
            if name == "ansible.builtin.command":
                yield [re.sub(r"\{\{.*?\}\}", "filled-in", word) for word in arguments["argv"]]


def understood(words: list[str]) -> None:
    assert Path(words[0]).name == "opanel-agent"
    command, rest = find(COMMANDS, words[1:])
    assert command is not None, words
    read(command, rest)


def options(text: str) -> set[str]:
    return set(re.findall(r"--[a-z]+(?:-[a-z]+)*", text))


def usage() -> set[str]:
    """The options that the installer's own help names, in English."""
    found = re.search(r"^usage: \./install\.sh.*?^END$", INSTALLER, re.MULTILINE | re.DOTALL)
    assert found is not None
    return options(found[0])


def test_every_command_of_the_playbook_is_understood() -> None:
    lines = [*typed(playbook())]
    assert len(lines) == 6
    for line in lines:
        if line[0].endswith("/install.sh"):
            assert {word for word in line if word.startswith("--")} <= usage()
        else:
            understood(line)


def test_a_task_either_says_when_it_changes_something_or_asks_first() -> None:
    """A command is a change to Ansible each time it runs: one that has neither is never done."""
    for task in playbook()["tasks"]:
        assert "ansible.builtin.command" not in task or {"changed_when", "when"} & task.keys(), task["name"]


def test_the_playbook_says_whose_every_file_is_and_reads_it_again() -> None:
    play = playbook()
    for task in play["tasks"]:
        copy = task.get("ansible.builtin.copy")
        if copy is not None:
            assert (copy["owner"], copy["group"]) == ("root", "root")
            assert not int(copy["mode"], 8) & 0o022
            assert copy["dest"].startswith("{{ source }}") or task["notify"] == play["handlers"][0]["name"]


def test_what_the_playbook_unpacks_was_packed() -> None:
    (packed,) = [
        task["loop"] for task in playbook()["tasks"] if "ansible.builtin.unarchive" in task and isinstance(task, dict)
    ]
    assert set(packed) == set(re.findall(r"[\w-]+\.tar\.gz", blocks("")[0]))


def test_the_answers_and_the_policy_would_be_accepted() -> None:
    answers, policy = blocks("toml")
    consent = consent_file.parse(answers.encode())
    assert consent.notice == installed_notice()
    assert consent.granted is not None
    assert [purpose for purpose, choice in consent.purposes.items() if choice.allow] == [Purpose.USAGE_STATISTICS]
    assert consent_file.parse_policy(policy.encode(), "50-fleet.toml").denied == {Purpose.CRASH_REPORTS}


def test_the_units_are_units_that_run_what_exists() -> None:
    service, timer = (block for block in blocks("ini") if block.startswith("[Unit]"))  # the other one is of dnf
    parsers = [configparser.RawConfigParser(), configparser.RawConfigParser()]
    for parser, text in zip(parsers, (service, timer), strict=True):
        parser.optionxform = str  # type: ignore[assignment]
        parser.read_string(text)
    assert {*parsers[0]} >= {"Unit", "Service"}
    assert {*parsers[1]} >= {"Timer", "Install"}
    script = shlex.split(parsers[0]["Service"]["ExecStart"])[2]
    understood(re.search(r"/usr/local/bin/opanel-agent[^>]*", script)[0].split())  # type: ignore[index]
    (nagios,) = re.findall(r"command\[\w+\]=([^']*)'", PAGE)
    understood(nagios.split())


def test_the_rules_speak_of_gauges_that_exist() -> None:
    known = set(re.findall(r"^\| `(opanel_agent_\w+)` \|", CONTRACT, re.MULTILINE))
    rules = yaml(blocks("yaml")[1])["groups"][0]["rules"]
    named = {name for rule in rules for name in re.findall(r"opanel_agent_\w+", rule["expr"])}
    assert named
    assert named <= known


def gauges(printed: str) -> dict[str, float]:
    """Every sample of `status --metrics`, by its name and labels."""
    lines = [line for line in printed.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def amount(text: str, samples: dict[str, float], now_s: float) -> float | None:
    """One side of a rule, as PromQL has it; None where it speaks of what has no sample."""
    total = 0.0
    for n, term in enumerate(text.split(" - ")):
        product: float | None = 1.0
        for each in term.split(" * "):
            factor = now_s if each == "time()" else float(each) if each.isdigit() else samples.get(each)
            product = None if factor is None or product is None else product * factor
        if product is None:
            return None
        total += product if n == 0 else -product
    return total


def alerts(samples: dict[str, float], now_s: float) -> set[str]:
    """The alerts of the page's rules that fire, leaving out for how long they must hold."""
    fired = set()
    for rule in yaml(blocks("yaml")[1])["groups"][0]["rules"]:
        side, sign, other = re.fullmatch(r"(.+) (==|<|>) (.+)", rule["expr"]).groups()  # type: ignore[union-attr]
        left, right = amount(side, samples, now_s), amount(other, samples, now_s)
        if left is not None and right is not None:
            holds = {"==": left == right, "<": left < right, ">": left > right}[sign]
            fired |= {rule["alert"]} if holds else set()
    return fired


@pytest.mark.slow
def test_the_rules_hold_for_a_license_that_works_seven_days_without_a_check(tmp_path: Path) -> None:
    """Silent while a check comes each day, and two days at least before the license ends for the want of one."""
    terminal = Terminal(folder=tmp_path)

    def fired(since_check_s: int) -> set[str]:
        terms: dict[str, Json] = {
            "id": "1",
            "product": "opanel",
            "tier": "pro",
            "issued": NOW,
            "renews_from": NOW + 60 * DAY,
        }
        terms |= {"expires": NOW + 90 * DAY, "offline_until": NOW - since_check_s + 7 * DAY}
        daily = answer(license=terms, last_success=NOW - since_check_s, as_of=NOW - min(since_check_s, DAY))
        with fake_daemon(terminal.paths.socket) as daemon:
            daemon.says("/v1/answer", daily | {"last_check": {"at": NOW - since_check_s, "failure": None}})
            return alerts(gauges(terminal.type("status", "--metrics").out), NOW)

    for hours in range(0, 49, 3):  # a check is drawn anew each day: two are 48 hours apart at most
        assert fired(hours * 3600) == set(), hours
    for hours in range(4 * 24 + 1, 7 * 24):
        assert fired(hours * 3600) == {"OPanelLicenseNeedsCheck"}, hours


def test_every_file_is_told() -> None:
    places = paths.Paths(
        system=True,
        owner=0,
        config_dir=paths.SYSTEM_CONFIG,
        state_dir=paths.SYSTEM_STATE,
        runtime_dir=paths.SYSTEM_RUNTIME,
    )
    own = (places.config_dir, places.state_dir, places.runtime_dir, places.courier_dir)
    every = [value for name in dir(paths.Paths) if name[0] != "_" and isinstance(value := getattr(places, name), Path)]
    mine = [path for path in every if any(path.is_relative_to(folder) for folder in own) and path not in own]
    assert len(mine) > 20
    assert [path for path in mine if f"`{path}`" not in PAGE] == []


def test_every_option_of_the_installer_that_is_named_exists() -> None:
    lines = [line for line in PAGE.split("\n") if "install.sh" in line]
    named = {option for line in lines for part in re.findall(r"install\.sh([^`\n]*)", line) for option in options(part)}
    assert {"--uninstall", "--purge", "--dry-run"} <= named
    assert named <= usage()
