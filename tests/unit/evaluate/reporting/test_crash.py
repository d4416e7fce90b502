"""Proves that a crash report says where in our own code it was, and nothing of what is planted all around it."""

import builtins
import hashlib
import traceback
from pathlib import Path
from typing import Any

import pytest

from fixtures.simulated.memory_files import MemoryFiles, Stopped
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core import errors
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import Bug, Storage, Untrusted
from opanel_agent.core.reporting.crash import MAX_FRAMES, StackFrame, from_traceback, scrub
from opanel_agent.evaluate.context import PassContext, begin_pass
from opanel_agent.evaluate.reporting import crash as job
from opanel_agent.evaluate.reporting.crash import facts_of, forget, note, pending
from opanel_agent.system.storage.resources import load_catalog

FILE = PATHS.state_dir / "crashes.json"
PACKAGE = "/opt/opanel-agent/lib/opanel_agent"
HOST, HOME, MAIL, SECRET = "web7.musteri.example", "/home/ayse", "ayse@musteri.example", "hunter2-OXQ7"
PLANTED = (HOST, HOME, MAIL, SECRET, "web7", "musteri", "ayse", "hunter2")
GOOD = StackFrame(module="opanel_agent.evaluate.main", function="main", line=71)


def failing(kind: type[Exception] = ValueError, *, file: str = f"{job.PACKAGE}/evaluate/main.py") -> Exception:
    """An exception with the planted values in its message, arguments, notes, cause, locals and a foreign frame's path."""
    source = "def act(value):\n    private = value + SECRET\n    raise KIND(private, value)\n"
    ours: dict[str, Any] = {"SECRET": SECRET, "KIND": kind}
    exec(compile(source, file, "exec"), ours)  # noqa: S102 - a frame whose file is the one that a test names
    theirs: dict[str, Any] = {"act": ours["act"], "VALUE": f"{HOST} {MAIL}"}
    call = f"def {SECRET.replace('-', '_')}(home):\n    act(VALUE)\n"
    exec(compile(call, f"{HOME}/{HOST}/plugin.py", "exec"), theirs)  # noqa: S102
    try:
        try:
            raise OSError(f"{HOME}/.ssh of {MAIL}")  # noqa: TRY301 - the cause that is planted
        except OSError as cause:
            try:
                theirs[SECRET.replace("-", "_")](HOME)
            except Exception as found:
                raise found from cause
    except Exception as error:  # noqa: BLE001 - whatever was asked for
        return error
    raise AssertionError


def test_nothing_that_was_planted_is_in_the_file_or_the_report() -> None:
    files = MemoryFiles()
    error = failing()
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert all(each in shown for each in PLANTED)  # it is there to be found
    note(files, PATHS, error)
    entry = files.entry(FILE)
    assert entry is not None
    body = load_catalog().build("crash_reports", {**facts_of(error), "erasure": hashlib.sha256(b"").hexdigest()})
    for data in (entry.data, body):
        assert [each for each in PLANTED if each.encode() in data] == []
    assert b"opanel_agent.evaluate.main:act:3" in body


def test_a_report_is_what_the_catalog_declares() -> None:
    catalog = load_catalog()
    facts = facts_of(failing())
    assert {*facts, "erasure"} == catalog.collected("crash_reports")
    assert facts["exception"] == "ValueError"
    assert facts["frames"] == ["opanel_agent.evaluate.main:act:3"]
    assert facts["agent_version"] == "0.1.0"
    assert str(facts["python"]).startswith("3.")


@pytest.mark.parametrize("name", ["ValueError", "KeyError", "RecursionError", "MemoryError", "KeyboardInterrupt"])
def test_pythons_own_types_are_named(name: str) -> None:
    assert scrub(f"builtins.{name}", [], "0.1.0", "3.11")["exception"] == name


def test_every_type_of_python_and_of_ours_is_known() -> None:
    kinds = [each for each in vars(builtins).values() if isinstance(each, type) and issubclass(each, BaseException)]
    kinds += [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.AgentError)]
    assert len(kinds) > 60
    for kind in kinds:
        named = scrub(f"{kind.__module__}.{kind.__qualname__}", [], "0.1.0", "3.11")["exception"]
        assert named == kind.__name__


@pytest.mark.parametrize(
    "name",
    [
        "ValueError",  # without its module it could be anybody's
        f"builtins.{SECRET}",
        "opanel_agent.core.errors.Web7",
        f"plugin.{HOST}",
        "musteri.ValueError",
        "opanel_agent.evaluate.main.ValueError",
        "",
    ],
)
def test_any_other_type_is_other(name: str) -> None:
    assert scrub(name, [], "0.1.0", "3.11")["exception"] == "other"


def test_a_class_of_somebody_elses_is_other_by_itself() -> None:
    named = type(HOST, (ValueError,), {"__module__": "musteri"})
    assert facts_of(failing(named))["exception"] == "other"


@pytest.mark.parametrize(
    "frame",
    [
        StackFrame(module="musteri.plugin", function="main", line=1),
        StackFrame(module="opanel_agent_of_ayse", function="main", line=1),
        StackFrame(module="opanel_agent.web7-musteri", function="main", line=1),
        StackFrame(module="opanel_agent.a.b.c.d.e", function="main", line=1),
        StackFrame(module="opanel_agent.jobs", function="ayşe", line=1),
        StackFrame(module="opanel_agent.jobs", function="a" * 65, line=1),
        StackFrame(module="opanel_agent.jobs", function="", line=1),
        StackFrame(module="opanel_agent.jobs", function="main", line=0),
        StackFrame(module="opanel_agent.jobs", function="main", line=100_000),
    ],
)
def test_a_frame_that_is_not_declared_is_left_away(frame: StackFrame) -> None:
    assert scrub("builtins.ValueError", [GOOD, frame], "0.1.0", "3.11")["frames"] == [
        "opanel_agent.evaluate.main:main:71"
    ]


def test_of_a_deep_stack_the_innermost_frames_are_told() -> None:
    frames = [StackFrame(module="opanel_agent.jobs", function="f", line=n) for n in range(1, MAX_FRAMES + 10)]
    scrubbed = scrub("builtins.RecursionError", frames, "0.1.0", "3.11")["frames"]
    assert scrubbed == [f"opanel_agent.jobs:f:{n}" for n in range(10, MAX_FRAMES + 10)]


def test_frames_are_read_from_a_traceback_by_where_their_file_lies() -> None:
    stack = traceback.StackSummary.from_list(
        [
            (f"{HOME}/opanel_agent/evaluate/main.py", 1, "theirs", f"x = '{SECRET}'"),
            (f"{PACKAGE}_of_ayse/evaluate/main.py", 2, "theirs", None),
            (f"{PACKAGE}/evaluate/main.py", 3, "main", f"x = '{SECRET}'"),
            (f"{PACKAGE}/jobs/__init__.py", 4, "<module>", None),
            (f"{PACKAGE}/__main__.py", 5, "<lambda>", None),
            (f"{PACKAGE}/jobs/evaluate.so", 6, "native", None),
            ("<string>", 7, "made", None),
        ]
    )
    assert from_traceback(stack, package=PACKAGE) == (
        StackFrame(module="opanel_agent.evaluate.main", function="main", line=3),
        StackFrame(module="opanel_agent.jobs", function="<module>", line=4),
        StackFrame(module="opanel_agent.__main__", function="<lambda>", line=5),
    )


def test_a_frame_without_a_line_is_left_away() -> None:
    stack = traceback.StackSummary.from_list([(f"{PACKAGE}/evaluate/license/check.py", 1, "f", None)])
    stack[0].lineno = None
    assert scrub("builtins.ValueError", from_traceback(stack, package=PACKAGE), "0.1.0", "3.11")["frames"] == []


# ---- what waits


@pytest.fixture
def agent() -> Simulated:
    return Simulated()


@pytest.fixture
def context(agent: Simulated) -> PassContext:
    return begin_pass(agent.world)


def crashed(agent: Simulated, *modules: str) -> None:
    for module in modules:
        note(agent.files, PATHS, failing(file=f"{job.PACKAGE}/jobs/{module}.py"))


def modules(context: PassContext) -> list[str]:
    """What is pending, without taking it."""
    entry = context.ports.files.read(FILE, max_bytes=2**20)
    stored: Any = {"pending": []} if entry is None else loads(entry, max_bytes=2**20)
    return [each["frames"][0].split(":")[0].rpartition(".")[2] for each in stored["pending"]]


def test_the_latest_three_different_crashes_wait(agent: Simulated, context: PassContext) -> None:
    crashed(agent, "one", "two", "one", "three")
    assert modules(context) == ["one", "two", "three"]
    crashed(agent, "four")
    assert modules(context) == ["two", "three", "four"]


def test_one_is_taken_off_when_it_became_a_report(agent: Simulated, context: PassContext) -> None:
    crashed(agent, "one", "two")
    taking = pending(context.ports.files, PATHS)
    assert next(taking)["frames"] == ["opanel_agent.jobs.one:act:3"]
    assert modules(context) == ["one", "two"]  # not yet: it is being sealed
    next(taking)
    assert modules(context) == ["two"]
    assert list(taking) == []
    assert modules(context) == []
    assert list(pending(context.ports.files, PATHS)) == []


def test_a_fault_that_comes_every_day_is_one_report(agent: Simulated, context: PassContext) -> None:
    crashed(agent, "one")
    assert len(list(pending(context.ports.files, PATHS))) == 1
    crashed(agent, "one")
    assert list(pending(context.ports.files, PATHS)) == []
    crashed(agent, *(f"m{n}" for n in range(3)))
    assert len(list(pending(context.ports.files, PATHS))) == 3


def test_only_so_many_reported_ones_are_remembered(agent: Simulated, context: PassContext) -> None:
    for n in range(job.MAX_REPORTED + 1):
        crashed(agent, f"m{n}")
        assert len(list(pending(context.ports.files, PATHS))) == 1
    crashed(agent, "m1")
    assert list(pending(context.ports.files, PATHS)) == []
    crashed(agent, "m0")
    assert len(list(pending(context.ports.files, PATHS))) == 1


def test_what_was_noted_before_a_consent_is_never_reported(agent: Simulated, context: PassContext) -> None:
    crashed(agent, "one")
    forget(context.ports.files, PATHS)
    assert not agent.files.exists(FILE)
    assert list(pending(context.ports.files, PATHS)) == []
    forget(context.ports.files, PATHS)
    crashed(agent, "one")
    assert modules(context) == ["one"]


def test_a_known_crash_writes_nothing(agent: Simulated) -> None:
    crashed(agent, "one")
    agent.files.steps.clear()
    crashed(agent, "one")
    assert [step for step, _ in agent.files.steps if step in {"create", "write", "rename"}] == []


@pytest.mark.parametrize(
    "junk",
    [
        b"{",
        b'{"pending":[],"reported":[],"schema":2}',
        b'{"pending":[1],"reported":[],"schema":1}',
        b'{"pending":[],"reported":[1],"schema":1}',
        b'{"pending":{},"reported":[],"schema":1}',
        b'{"more":1,"pending":[],"reported":[],"schema":1}',
    ],
)
def test_a_broken_file_is_said_and_begun_anew(
    agent: Simulated, context: PassContext, junk: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.files.put(FILE, junk)
    assert list(pending(context.ports.files, PATHS)) == []
    assert "crashes_lost" in capsys.readouterr().err
    crashed(agent, "one")
    assert modules(context) == ["one"]


def test_a_crash_that_cannot_be_noted_is_only_said(capsys: pytest.CaptureFixture[str]) -> None:
    full = Storage(Fault.DISK_FULL, "write_failed", file=str(FILE))

    def fault(step: str, path: Path) -> None:
        if step == "write":
            raise full

    files = MemoryFiles(fault=fault)
    note(files, PATHS, failing())
    printed = capsys.readouterr().err
    assert "crash_not_noted" in printed
    assert [each for each in PLANTED if each in printed] == []
    assert not files.locked


def test_while_another_pass_has_the_state_nothing_is_noted(agent: Simulated) -> None:
    with agent.files.lock(PATHS.lock):
        crashed(agent, "one")
    assert not agent.files.exists(FILE)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("step", range(7))
def test_a_power_cut_leaves_a_file_that_reads(agent: Simulated, step: int, *, keep: bool) -> None:
    crashed(agent, "one")
    agent.files.stop_at(step)
    with pytest.raises(Stopped):
        crashed(agent, "two")
    agent.files.crash(keep=keep)
    assert modules(begin_pass(agent.world)) in (["one"], ["one", "two"])


def test_errors_of_ours_are_named() -> None:
    for error, name in ((Bug(Reason.INTERNAL, "x"), "Bug"), (Untrusted(Reason.INTERNAL, SECRET), "Untrusted")):
        assert facts_of(error)["exception"] == name
        assert SECRET.encode() not in dumps(facts_of(error))
