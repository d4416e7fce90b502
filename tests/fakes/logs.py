"""Everything that our code logs while the suite runs, searched for what must never be in a log: the values of payloads.

Three ways lead here, and no test has to do anything for them: what is written to this process's stderr (the agent in one
process), the stderr of every program that a test starts (a resident with its jobs, a job, the authority), whether a pipe or
a file takes it, and, by `keep`, a file that a program was told to log to. `look` after each test names what was found.

Two kinds of things are looked for. *Shapes* that any payload has wherever it comes from: a license key, a signed document,
the `erasure` of a report, the secrets that a request for rights reveals. And *planted values*: those that the fakes give
out as machine facts, texts and secrets are odd enough never to be in a log by accident. A short list of small classes
(`debian`, `kvm`) has no odd value; a log that holds a whole report is found by its shape.

What a command tells the person who typed it is no log, though it goes to stderr: `license activate` has to show there what
will leave. Of a command's stderr only the lines in the form of a log line count, and a traceback.
"""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Final, TextIO

PANEL_VERSION: Final = "9.47.38"
EXCEPTION: Final = "PlantedErrorNobodyWrites"
TEXT: Final = "Ekilen söz 7Q3ZK: bunu kimse günlüğe yazmaz."

HERE: Final = "tests in this process"

_KEY: Final = rb"(?:[0-9A-HJKMNP-TV-Z]{5}-){5}[0-9A-HJKMNP-TV-Z][0-9A-HJKMNP-Z]"
SHAPES: Final = {
    "a license key": re.compile(_KEY, re.IGNORECASE),
    "a signed document": re.compile(rb"eyJ[\w-]{16,}\.[\w-]{16,}"),
    "a report": re.compile(rb"erasure\W{1,8}[0-9a-f]{64}"),
    "a request for rights": re.compile(rb"reveals\W{1,10}[0-9a-f]{64}"),
}
_TOKEN: Final = re.compile(rb"[0-9a-f]{32,}|[\w-]{20,}")
_IS_LOG: Final = re.compile(rb"(?:<[0-7]>|[a-z]+: )event=|Traceback |  File |    |\w*Error")
# Whoever is started without anybody at the terminal: all that these say is a log.
_PROGRAMS: Final = ("resident", "evaluate", "fetch", "courier", "opanel_authority")


@dataclass(slots=True, kw_only=True)
class _File:
    """A file that takes a running program's stderr: read as it grows, to its end when the program has ended."""

    kind: str
    fd: int
    running: Callable[[], bool]


@dataclass(slots=True)
class Logs:
    """`sinks` and `octets` count, by the kind of program, what was collected: an empty net catches nothing either."""

    sinks: Counter[str] = field(default_factory=Counter)
    octets: Counter[str] = field(default_factory=Counter)
    _values: dict[bytes, str] = field(default_factory=dict)
    _secrets: dict[bytes, str] = field(default_factory=dict)
    _kept: dict[str, list[bytes]] = field(default_factory=dict)
    _files: list[_File] = field(default_factory=list)

    def plant(self, value: str, what: str) -> None:
        """A value of which every occurrence counts."""
        self._values[value.encode()] = what

    def plant_secret(self, secret: bytes, what: str) -> None:
        """Random bytes, which would be written in hex. They are many: looked up, not searched for."""
        self._secrets[secret.hex().encode()] = what

    def keep(self, kind: str, data: bytes, *, sinks: int = 1) -> None:
        self.sinks[kind] += sinks
        self.octets[kind] += len(data)
        self._kept.setdefault(kind, []).append(data)

    def hear(self, texts: Iterable[str]) -> None:
        """What pytest caught of one test: also what a program wrote that was started without a stderr of its own."""
        self.keep(HERE, _of_a_log("".join(texts).encode("utf-8", "replace")))

    def follow(self, kind: str, fd: int, running: Callable[[], bool]) -> None:
        """The file behind a descriptor that may be closed when this returns, from its beginning."""
        self.sinks[kind] += 1
        self._files.append(_File(kind=kind, fd=os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), running=running))

    def look(self) -> list[str]:
        """What was found in all that was collected since the last look, one sentence each."""
        self._read_files()
        kept, self._kept = self._kept, {}
        return [found for kind, parts in kept.items() for found in self._found(kind, b"".join(parts))]

    def _read_files(self) -> None:
        for file in list(self._files):
            ended = not file.running()
            while data := os.read(file.fd, 1 << 20):
                self.keep(file.kind, data, sinks=0)
            if ended:
                os.close(file.fd)
                self._files.remove(file)

    def _found(self, kind: str, data: bytes) -> Iterable[str]:
        looked_up = {token: self._secrets[token] for token in set(_TOKEN.findall(data)) if token in self._secrets}
        searched = {value: what for value, what in self._values.items() if value in data}
        shapes = {shape[0]: what for what, pattern in SHAPES.items() if (shape := pattern.search(data))}
        for value, what in {**shapes, **searched, **looked_up}.items():
            line = next((each for each in data.splitlines() if value in each), value)
            yield f"the log of {kind} holds {what}: {line.decode('utf-8', 'replace')[:300]}"


LOGS: Final = Logs()
for _value, _what in (
    (PANEL_VERSION, "a machine fact"),
    (EXCEPTION, "a crash report's exception"),
    (TEXT, "the text of a request for rights"),
):
    LOGS.plant(_value, _what)


class Tee:
    """A text stream that also keeps what is written. `inner` is what it stands before."""

    def __init__(self, inner: TextIO) -> None:
        self.inner = inner

    def write(self, text: str) -> int:
        LOGS.keep(HERE, _of_a_log(text.encode("utf-8", "replace")), sinks=0)
        return self.inner.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def watch_programs() -> None:
    """From now on, whatever `subprocess` starts is heard, too. It is the standard library's own class that is told to."""
    began, talked = subprocess.Popen.__init__, subprocess.Popen.communicate

    @wraps(began)
    def begin(program: "subprocess.Popen[Any]", arguments: Any, *more: Any, **options: Any) -> None:
        began(program, arguments, *more, **options)
        stderr = options.get("stderr")
        if stderr is not None and not isinstance(stderr, int):
            with suppress(OSError):  # a device or a closed one is no file to read from
                if Path(f"/proc/self/fd/{stderr.fileno()}").is_file():
                    LOGS.follow(_kind(program.args), stderr.fileno(), lambda: program.poll() is None)

    @wraps(talked)
    def talk(program: "subprocess.Popen[Any]", *more: Any, **options: Any) -> Any:
        out, err = talked(program, *more, **options)
        if err:
            data = err.encode("utf-8", "replace") if isinstance(err, str) else err
            kind = _kind(program.args)
            LOGS.keep(kind, _of_a_log(data) if kind == "commands" else data)
        return out, err

    subprocess.Popen.__init__ = begin  # type: ignore[assignment, method-assign]
    subprocess.Popen.communicate = talk  # type: ignore[assignment, method-assign]


def _kind(arguments: Any) -> str:
    words = [arguments] if isinstance(arguments, str | bytes | os.PathLike) else arguments
    said = " ".join(os.fsdecode(each) for each in words)
    return next((each for each in _PROGRAMS if each in said), "commands")


def _of_a_log(data: bytes) -> bytes:
    return b"".join(each for each in data.splitlines(keepends=True) if _IS_LOG.match(each))
