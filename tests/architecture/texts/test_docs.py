"""The documents say what the code does: examples verify, tables equal the code's own, links and commands exist."""

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures import signing
from fixtures.command_line import Terminal
from fixtures.daemon.fake_daemon import answer, fake_daemon
from fixtures.simulated.simulated_agent import Simulated
from opanel_agent.cli.main import INTERRUPTED
from opanel_agent.cli.parser import find, read
from opanel_agent.core import errors
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.commands import COMMANDS, OPTION_TYPES, ROUTES, Body
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.documents import bundle, root, signed_request, status_list
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.license.states import PERMITS, Action, State
from opanel_agent.core.problems import REFUSALS
from opanel_agent.daemon import api
from opanel_authority.cli import main as authority

ROOT: Final = Path(__file__).resolve().parents[3]
DOCS: Final = ROOT / "docs"
EXAMPLES: Final = DOCS / "examples"
PROSE: Final = sorted([*ROOT.glob("*.md"), ROOT / "packaging/README.md", *DOCS.rglob("*.md")])
FORMAT: Final = (DOCS / "license-format.md").read_text(encoding="utf-8")
CONTRACT: Final = (DOCS / "json.md").read_text(encoding="utf-8")
PROCESSES: Final = frozenset({"daemon", "evaluate", "fetch", "courier"})
CODE: Final = re.compile(r"`([^`]+)`")
BLOCK: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


# reading Markdown


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next of the same or a higher rank."""
    found = re.search(rf"^(#+) {re.escape(title)}$(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, headings and rules left out."""
    lines = text.split("\n")
    content = [line for line, after in pairwise([*lines, ""]) if line.startswith("|") and not after.startswith("| ---")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in content if not line.startswith("| ---")]


def table(text: str, first: str) -> list[list[str]]:
    """The rows of the one table whose first heading this is."""
    tables = re.findall(rf"^\| {re.escape(first)} \|.*\n\| ---.*\n((?:\|.*\n)*)", text, re.MULTILINE)
    assert len(tables) == 1, (first, len(tables))
    return rows(tables[0])


def names(cell: str) -> list[str]:
    return CODE.findall(cell)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def outside(text: str) -> str:
    """The text without its code blocks."""
    return BLOCK.sub("", text)


def commands(text: str, program: str = "opanel-agent") -> Iterator[str]:
    """Every command line: lines of code blocks, and code within a line, that begin with the program's name."""
    for line in (*typed(text), *CODE.findall(outside(text))):
        if line.startswith(f"{program} "):
            yield line.partition("#")[0].strip()


def typed(text: str) -> list[str]:
    """The lines of the code blocks, each as one would type it."""
    return [re.sub(r"^[$#] ", "", line.strip()) for block in BLOCK.findall(text) for line in block.split("\n")]


# the shape of JSON: dotted paths, [] for what stands in an array

OPEN: Final = frozenset(
    {"limits", "may.limits", "keys", "endpoints", "components", "bind.components", "artifacts", "layouts"}
)


def paths(value: Any, at: str = "") -> Iterator[str]:
    """Every member's path. What OPEN names has members of anybody's choice, and so does `purposes`, as `*`."""
    if at in OPEN:
        return
    for name, inner in value.items():
        here = f"{at}.{'*' if at == 'purposes' else name}".lstrip(".")
        if at != "purposes":
            yield here
        for each in inner if isinstance(inner, list) else [inner]:
            if isinstance(each, dict):
                yield from paths(each, here + ("[]" if isinstance(inner, list) else ""))


def answer_of_every_member() -> dict[str, Any]:
    """A real answer in which every member has something to say: warned, denied, with a reseller."""
    agent = Simulated()
    lines = (EXAMPLES / "bundle.jws").read_bytes().splitlines(keepends=True)
    agent.install(b"".join(lines[:2]))  # without its activation
    agent.publish({signing.LICENSE_IDX: 2})
    agent.run("refresh")
    signal = Signal(kind=SignalKind.ENVIRONMENT, what="DO_NOT_TRACK=1", place="/etc/environment", line=3)
    agent.opt_outs.signals = Signals(do_not_track=(signal,), offline=())
    parts = agent.run("tick")["answer"]
    return served(parts)


def served(parts: dict[str, Any], trouble: Any = None) -> dict[str, Any]:
    """`GET /v1/answer`, as the daemon makes it of what evaluate answered."""
    whole = api.PublishedAnswer(
        whole=json.dumps(parts).encode(), peers=b"", license=b"", consent=b"", state="active", reasons="ok"
    )
    response = api.respond(ROUTES["/v1/answer"]["GET"], b"", whole, trouble, owner=True)
    assert isinstance(response, api.Response)
    answer: dict[str, Any] = json.loads(response.body)
    return answer


ANSWER: Final = answer_of_every_member()


# the examples


def test_the_example_bundle_verifies_under_the_example_root() -> None:
    trusted = root.first((EXAMPLES / "root.jws").read_bytes())
    found = bundle.verify((EXAMPLES / "bundle.jws").read_bytes(), trusted, now=signing.NOW)
    assert found.activation is not None
    listed = status_list.accept((EXAMPLES / "status-list.jwt").read_bytes().strip(), trusted, floor={}, now=signing.NOW)
    assert [listed.status(idx) for idx in (1, 100, 200, 300, 301, 302)] == [0, 0, 0, 1, 2, 3]
    asked = signed_request.verify((EXAMPLES / "request.jws").read_bytes().strip())
    assert (asked.license_sha256, asked.jwk.kid) == (found.license.digest, found.activation.jkt)


def test_the_command_beside_the_example_says_so_too(tmp_path: Path) -> None:
    terminal = Terminal(folder=tmp_path)
    terminal.trust((EXAMPLES / "root.jws").read_bytes())
    printed = terminal.type("license", "verify", str(EXAMPLES / "bundle.jws"), "--json")
    assert (printed.status, printed.json()["result"]["license"]) == (0, "license-1")


def test_the_format_begins_with_that_bundle_and_its_license() -> None:
    text = (EXAMPLES / "bundle.jws").read_text(encoding="ascii")
    example = section(FORMAT, "Example")
    assert FORMAT.index("## Example") < 50
    assert text in blocks(example, "")
    assert json.loads(blocks(example, "json")[0]) == claims(text.split("\n")[1])


def claims(line: str) -> dict[str, Any]:
    claims_json: dict[str, Any] = json.loads(unbase64url(line.split(".")[1]))
    return claims_json


# the format's tables

DOCUMENTS: Final = {
    "Root of trust": signing.root_claims(),
    "Delegation": signing.delegation_claims(),
    "License": signing.license_claims(),
    "Activation": signing.activation_claims(),
    "Request": claims(signing.request().decode()),
    "Status": signing.status_list_claims(),
    "Release manifest": signing.release_claims(),
}
CONTROLLER: Final = {f"controller.{name}" for name in ("name", "address", "email", "kep", "url")}
OPTIONAL: Final = {
    "Root of trust": {*CONTROLLER, "transfers", "ip_retention_days"},
    "Delegation": {*CONTROLLER, "contact.url"},
    "License": {"reseller.url"},
    "Release manifest": {"environment.files", "environment.links"},
    "Request": {"right", "text"},
    "Status": {"jti", "status_list.aggregation_uri"},
}


@pytest.mark.parametrize("title", sorted(DOCUMENTS))
def test_a_table_of_claims_has_every_claim_and_no_other(title: str) -> None:
    documented = {name for row in table(section(FORMAT, title), "claim") for name in names(row[0])}
    every = {
        path for path in paths(DOCUMENTS[title]) if not path.startswith(("status.", "mirrors[]", "cnf.jwk.", "jwk."))
    }
    # a member that has members of its own is told by them
    leaves = {path for path in every if not any(other.startswith(f"{path}.") for other in every)}
    assert documented == leaves | OPTIONAL.get(title, set())


def test_the_members_of_a_release_s_layout_are_in_the_table() -> None:
    documented = {
        name for row in table(section(FORMAT, "Release manifest"), "member of a layout") for name in names(row[0])
    }
    layout = signing.layout()
    assert documented == {*layout.keys() - {"wheels"}, *(f"wheels.{name}" for name in layout["wheels"])}


def test_the_format_names_every_type_of_document() -> None:
    assert {name for row in table(section(FORMAT, "One envelope"), "document") for name in names(row[1])} == set(Typ)


def test_the_table_of_states_is_the_code_s() -> None:
    states = table(section(FORMAT, "States"), "state")
    assert [names(row[0])[0] for row in states] == [str(state) for state in State]
    for row in states:
        permits = PERMITS[State(names(row[0])[0])]
        every = ("run", "change", "create", "paid_features")
        assert row[2].split(", ") == [name for name in every if getattr(permits, name)], row


# the contract


@pytest.mark.parametrize(
    ("title", "real"), [("GET /v1/license", ANSWER["license"]), ("GET /v1/consent", ANSWER["consent"])]
)
def test_the_table_of_members_is_the_real_answer_s(title: str, real: dict[str, Any]) -> None:
    documented = {name for row in table(section(CONTRACT, title), "member") for name in names(row[0])}
    every = set(paths(real))
    assert documented <= every | {"purposes"}, documented - every
    # an object whose members are told need not stand there itself; `offline[]` is as `do_not_track[]`
    assert {path for path in every - documented if not any(each.startswith(f"{path}.") for each in documented)} == set()


def test_the_rest_of_the_answer_is_told() -> None:
    documented = {name for row in table(section(CONTRACT, "GET /v1/answer"), "member") for name in names(row[0])}
    whole = served(ANSWER, trouble="an error")
    every = {
        *paths({name: part for name, part in whole.items() if name not in ("license", "consent")}),
        "license",
        "consent",
    }
    leaves = {path for path in every if not any(other.startswith(f"{path}.") for other in every)}
    assert documented == leaves


def test_the_examples_of_json_have_the_real_members() -> None:
    license_ = json.loads(blocks(section(CONTRACT, "GET /v1/license"), "json")[0])
    whole = json.loads(blocks(section(CONTRACT, "GET /v1/answer"), "json")[0])
    assert license_ == ANSWER["license"]
    assert set(whole) == set(ANSWER)
    for part in ("isolation", "next_run", "last_check", "advisories"):
        assert whole[part] == ANSWER[part]
    assert set(whole["root"]) == set(ANSWER["root"])
    consent = whole["consent"]
    known = ANSWER["consent"]["purposes"]
    assert {**ANSWER["consent"], "purposes": {name: known[name] for name in consent["purposes"]}} == consent


def test_every_action_is_told() -> None:
    documented = {names(row[0])[0]: row[2] for row in table(section(CONTRACT, "GET /v1/license"), "member")}
    assert names(documented["next_action.code"]) == [str(action) for action in Action]


def test_every_path_of_the_socket_is_told() -> None:
    documented = {(names(row[0])[0], row[1], row[2]) for row in table(section(CONTRACT, "The socket"), "request")}
    bodies = {Body.NONE: "none", Body.OPTIONS: "options", Body.DOCUMENT: "document or options"}
    assert documented == {
        (f"{method} {path}", route.who.value, bodies[route.body])
        for path, methods in ROUTES.items()
        for method, route in methods.items()
    }


def test_every_option_is_told() -> None:
    kinds = {bool: "boolean", str: "text", list: "texts"}
    documented = dict(re.findall(r"`(\w+)`\s\((boolean|texts?)\)", section(CONTRACT, "POST")))
    assert documented == {name: kinds[kind] for name, kind in OPTION_TYPES.items()}


def test_every_problem_of_the_socket_is_told() -> None:
    documented = {
        row[0].strip("`"): (int(row[1]), row[2].strip("`"))
        for row in rows(section(CONTRACT, "Problems"))
        if len(row) == 3
    }
    assert documented == {name: (status, str(code)) for name, (status, code, _) in api.PROBLEMS.items()}


def test_every_problem_of_the_authority_is_told() -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in rows(section(CONTRACT, "Problems")) if len(row) == 2}
    assert documented == {problem.name: str(problem.code) for problem in REFUSALS}


def test_every_kind_of_error_is_told_with_its_exit_status() -> None:
    documented = {names(row[0])[0]: int(row[1]) for row in table(CONTRACT, "`kind`")}
    assert documented == {name: kind.exit_status for name, kind in errors._KINDS.items()}


def test_every_exit_status_is_told() -> None:
    documented = [int(row[0]) for row in table(section(CONTRACT, "Commands"), "exit")]
    assert documented == sorted({0, 1, INTERRUPTED, *(kind.exit_status for kind in errors._KINDS.values())})


def codes() -> tuple[dict[str, str], dict[str, str]]:
    """Reasons and faults with their meanings, as the contract tells them."""
    reasons, faults = section(CONTRACT, "Codes").split("Faults:")
    return tuple({row[0].strip("`"): row[1] for row in table(part, "code")} for part in (reasons, faults))  # type: ignore[return-value]


def test_every_code_is_told_and_no_other() -> None:
    reasons, faults = codes()
    assert [*reasons] == [str(reason) for reason in Reason]
    assert [*faults] == [str(fault) for fault in Fault]
    assert all([*reasons.values(), *faults.values()])


def test_every_metric_is_told(tmp_path: Path) -> None:
    terminal = Terminal(folder=tmp_path)
    with fake_daemon(terminal.paths.socket) as daemon:
        terms: Json = dict.fromkeys(("expires", "renews_from", "offline_until"), 1)
        renewal: Json = {"at": 1, "next": 1, "failure": None}
        daemon.says("/v1/answer", answer(license=terms) | {"renewal": renewal})
        printed = terminal.type("status", "--metrics")
    samples = re.findall(r"^(\w+)(?:\{(\w+)=)?", re.sub(r"^#.*\n", "", printed.out, flags=re.MULTILINE), re.MULTILINE)
    documented = {(names(row[0])[0], row[1].strip("`")) for row in table(section(CONTRACT, "Commands"), "metric")}
    assert documented == set(samples)


def test_every_command_s_result_is_told() -> None:
    documented = {line for row in table(section(CONTRACT, "Commands"), "command") for line in names(row[0])}
    found = {found.words for line in documented if (found := find(COMMANDS, line.split()[1:])[0])}
    assert found == {command.words for command in COMMANDS}


# every document


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in LINK.findall(outside(path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    whole = typed(text)
    for line in commands(text):
        words = re.split(r"[ |]+", line)[1:]
        if words[0] in PROCESSES or words == ["--version"]:
            continue
        command, rest = find(COMMANDS, words)
        assert command is not None, line
        # Its options exist. Within a sentence its operands need not be whole; in a code block they are typed as they stand.
        read(command, [*rest, "--help"])
        if any(each.startswith(line) for each in whole) and "[" not in line:
            command, rest = find(COMMANDS, shlex.split(line)[1:])
            assert command is not None
            read(command, rest)


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_the_authority_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    whole = typed(text)
    for line in commands(text, "opanel-authority"):
        words = shlex.split(line)[1:]
        known = authority_options(*words[:2])
        assert known is not None, line
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known, line
        if any(each.partition("#")[0].strip() == line for each in whole):
            authority._parser().parse_args(words)


def authority_options(*words: str) -> frozenset[str] | None:
    """The options of one of its commands, which the words begin with; None where there is no such command."""
    found = authority._parser()
    for word in words:
        groups = [each.choices for each in found._actions if isinstance(each, argparse._SubParsersAction)]
        if not groups:
            break
        if word not in groups[0]:
            return None
        found = groups[0][word]
    return frozenset(found._option_string_actions)


def test_a_command_that_nobody_knows_is_found_out() -> None:
    assert authority_options("answr") is None
    assert authority_options("remote", "isue") is None
    assert "--key-file" in (authority_options("remote", "issue") or ())
    assert "--as" in (authority_options("issue") or ())
    with pytest.raises(errors.Usage):
        authority._parser().parse_args(["answer", "request.jws"])  # without -o


def test_the_two_ways_to_find_a_command() -> None:
    assert [*commands("run `opanel-authority serve`, not `opanel-agent dnt on`", "opanel-authority")] == [
        "opanel-authority serve"
    ]
    assert [*commands("see `opanel-agent dnt on`\n```\n$ opanel-agent status  # now\n```\n")] == [
        "opanel-agent status",
        "opanel-agent dnt on",
    ]


def test_the_code_refers_to_headings_that_are_there() -> None:
    """`license-format.md, "States"` in a docstring or document."""
    texts = [
        path.read_text(encoding="utf-8")
        for top in ("agent", "authority", "tests")
        for path in (ROOT / top).rglob("*.py")
    ]
    references = {
        found for text in (*texts, *(path.read_text(encoding="utf-8") for path in PROSE)) for found in referred(text)
    }
    assert ("license-format.md", "States") in references
    for file, heading in references:
        assert section((DOCS / file).read_text(encoding="utf-8"), heading)


def referred(text: str) -> list[tuple[str, str]]:
    return re.findall(r'\b(license-format\.md|ARCHITECTURE\.md|json\.md)[)\]\w./-]*,\s+"([^"]+)"', text)


def test_decisions_are_numbered_without_a_gap_and_dated() -> None:
    decisions = sorted((DOCS / "adr").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]} ")
        assert re.search(r"^20\d\d-\d\d-\d\d, accepted", text, re.MULTILINE)
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Alternatives", "Consequences"))
