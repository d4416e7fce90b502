"""Ten years of an ordinary server, drawn from a seed: how large the files of its agent become, and how long a pass takes.

What is ordinary: the daemon's own passes, a status list a day, a reboot a month, weekly usage statistics that the authority
answers with a receipt, a crash of the agent each quarter, do-not-track for a week each year, a withdrawal each half year
with its erasure, and a new consent two weeks later. `live` yields the figures of each year; `tests/bench/growth.py`
prints them beside the limits, and `test_growth` holds that ten years of the first weeks' growth stay within these.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from fixtures import signing
from fixtures.signing import DAY
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.ledger import export
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.evaluate.reporting import crash

YEAR: Final = 365
FREE: Final = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
CONSENT: Final = b"""schema = 1
notice = "2026-12-03"
[granted]
by = "Administrator"
role = "owner"
on = "%s"
[purposes.usage_statistics]
allow = true
[purposes.crash_reports]
allow = true
review = false
"""
FOLDERS: Final = {
    "held": PATHS.held,
    "sent": PATHS.sent,
    "receipts": PATHS.receipts,
    "erasure": PATHS.erasure,
    "ready": PATHS.ready,
}


class Figures(NamedTuple):
    """At the end of a year: sizes in bytes, files by folder, and the time of its passes."""

    year: int
    passes: int
    posts: int
    entries: int
    ledger: int
    state: int
    withdrawals: int
    checkpoint: int
    rights: int
    outbox: int
    export: int
    files: dict[str, int]
    slowest_ms: float
    median_ms: float


class Server:
    """The agent of one server, and what is counted of it."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - drawn the same twice on purpose
        self.agent = Simulated(seed=seed)
        self.passes_s: list[float] = []
        self.posts = 0
        for purpose in ("usage_statistics", "crash_reports"):
            self.agent.network.on("POST", f"{signing.ENDPOINT}/v1/reports/{purpose}", self._receipt)
        self.agent.network.on("POST", f"{signing.ENDPOINT}/v1/rights", self._receipt_of_rights)
        terms: dict[str, Any] = {
            "iat": signing.NOW - DAY,
            "nbf": signing.NOW - DAY,
            "exp": signing.NOW + 3990 * DAY,
            "activation": FREE,
        }
        long: dict[str, Any] = {
            "iat": signing.NOW - 2 * DAY,
            "nbf": signing.NOW - 2 * DAY,
            "may": signing.may(max_term_days=4000, issue_until=signing.NOW + 800 * DAY),
            "exp": signing.NOW + 4000 * DAY,
        }
        self.agent.install(signing.lines(signing.delegation(**long), signing.license(**terms)))

    def _receipt(self, sealed: Sealed) -> Reply:
        self.posts += 1
        now = self.agent.clock.wall_s
        token = signing.receipt(sealed.body, kind=sealed.purpose, iat=now, due=now + 180 * DAY)
        return ok(token, "application/jose", status=202)

    def _receipt_of_rights(self, sealed: Sealed) -> Reply:
        self.posts += 1
        now = self.agent.clock.wall_s
        return ok(signing.receipt(sealed.body, kind="erase", iat=now, due=now), "application/jose")

    def run(self, intent: str, **options: Any) -> dict[str, Any]:
        begun_s = time.perf_counter()
        frame = self.agent.run(intent, **options)
        self.passes_s.append(time.perf_counter() - begun_s)
        assert frame["ok"], (intent, frame["error"])
        return frame

    def day(self) -> None:
        """The authority publishes; the agent has its passes when it asked for them."""
        ends_s = self.agent.clock.wall_s + DAY
        self.agent.publish({})
        while self.agent.clock.wall_s < ends_s:
            wait_s = int(self.run("tick")["next_run_s"])
            self.agent.clock.advance(max(60, min(wait_s, ends_s - self.agent.clock.wall_s)))

    def allow(self) -> None:
        stamp = time.strftime("%Y-%m-%d", time.gmtime(self.agent.clock.wall_s))
        self.agent.files.put(PATHS.consent, CONSENT % stamp.encode())
        self.run("narrowed")

    def deny(self) -> None:
        """As an edit of the file; what left is asked to be erased."""
        text = self.agent.files.entry(PATHS.consent).data.replace(b"allow = true", b"allow = false")  # type: ignore[union-attr]
        self.agent.files.put(PATHS.consent, text)
        if self.run("narrowed")["result"]["consent"]["ready"]:
            preview = self.run("rights", kind="erase", preview=True)["result"]
            self.run("rights", kind="erase", confirm=preview["id"])

    def crash(self) -> None:
        try:
            raise [ArithmeticError, LookupError, ValueError, OSError][self.draw.randrange(4)]
        except (ArithmeticError, LookupError, ValueError, OSError) as exc:
            crash.note(self.agent.files, PATHS, exc)

    def year(self, number: int) -> Figures:
        self.passes_s, self.posts = [], 0
        quiet = self.draw.randrange(60, 120)
        for day in range(YEAR):
            if day % 182 == 0:
                self.deny() if self.agent.files.exists(PATHS.consent) else None
            if day % 182 == 14 or (number == 1 and day == 0):
                self.allow()
            if day % 91 == 45:
                self.crash()
            if day in (quiet, quiet + 7):
                self.agent.opt_outs.set_signals(do_not_track=day == quiet)
            if day % 30 == 15:
                self.agent.clock.reboot(off_s=600)
                self.run("start")
            self.day()
        return self.figures(number)

    def figures(self, number: int) -> Figures:
        """Reads what lies on the disk, and checks the export of it."""
        files = self.agent.files
        here = files.snapshot()
        timed = sorted(self.passes_s)
        counted = {name: len(files.names(folder)) for name, folder in FOLDERS.items()}
        outbox = sum(len(entry.data) for path, entry in here.items() if path.parent in FOLDERS.values())
        exported = self._export()
        assert export.check(exported, signing.trusted_root().digest).findings == ()
        return Figures(
            year=number,
            passes=len(timed),
            posts=self.posts,
            entries=here[PATHS.ledger].data.count(b"\n"),
            ledger=len(here[PATHS.ledger].data),
            state=len(here[PATHS.state].data),
            withdrawals=_size(here, PATHS.withdrawals_of_agent),
            checkpoint=_size(here, PATHS.ledger.with_name("ledger.checkpoint")),
            rights=_size(here, PATHS.state_dir / "rights.json"),
            outbox=outbox,
            export=len(exported),
            files=counted,
            slowest_ms=1000 * timed[-1],
            median_ms=1000 * timed[len(timed) // 2],
        )

    def _export(self) -> bytes:
        data, more = b"", ""
        while True:
            page: dict[str, Any] = self.agent.run("export", **({"id": more} if more else {}))["result"]
            data += unbase64url(page["export"])
            if page["more"] is None:
                return data
            more = page["more"]


def _size(here: Any, path: Path) -> int:
    return len(here[path].data) if path in here else 0


def live(seed: int, years: int = 10) -> Iterator[Figures]:
    """Yields the figures of each year of one server."""
    server = Server(seed)
    for number in range(1, years + 1):
        yield server.year(number)
