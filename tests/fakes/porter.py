"""A resident that says what a test tells it to: a real HTTP server on a real Unix socket, and a note of who asked what."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any, Final

from opanel_agent.core.strict_json import Json

NOW: Final = 1_795_510_800
DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    method: str
    path: str
    media: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One reply. `raw` goes out instead of HTTP; `after_s` is how long the client waits for it."""

    status: int = 200
    body: bytes = b""
    raw: bytes | None = None
    after_s: float = 0


@dataclass(slots=True, kw_only=True)
class Porter:
    """`replies` are given in turn for each path, the last one again and again; where there are none, `relay` is asked."""

    socket_path: Path
    replies: dict[str, list[Said]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    relay: Callable[[Asked], Said] | None = None
    gone: threading.Event = field(default_factory=threading.Event)

    def says(self, path: str, told: Json, *, status: int = 200) -> None:
        """Adds a reply for this path."""
        self.replies.setdefault(path, []).append(Said(status=status, body=json.dumps(told).encode()))

    def says_raw(self, path: str, said: Said) -> None:
        self.replies.setdefault(path, []).append(said)

    def done(self, path: str, result: Any, **license_members: Json) -> None:
        """Adds a job's success."""
        self.says(
            path, {"schema": 1, "ok": True, "error": None, "result": result, "license": license_(**license_members)}
        )

    def failed(self, path: str, error: Json) -> None:
        self.says(path, {"schema": 1, "ok": False, "error": error, "result": None, "license": license_()})

    def posts(self) -> list[tuple[str, Any]]:
        """What was posted, options parsed."""
        return [(each.path, _read(each)) for each in self.asked if each.method == "POST"]

    def next_for(self, asked: Asked) -> Said:
        waiting = self.replies.get(asked.path, [])
        if not waiting:
            return self.relay(asked) if self.relay else Said(status=404, body=b'{"code": "usage"}')
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def porter(socket_path: Path) -> Iterator[Porter]:
    """A porter who answers until the context ends."""
    told = Porter(socket_path=socket_path)
    socket_path.parent.mkdir(parents=True, exist_ok=True)
    server = _Server(str(socket_path), _Handler)
    server.porter = told
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield told
    finally:
        told.gone.set()
        server.shutdown()
        server.server_close()
        thread.join()
        socket_path.unlink()


def license_(**members: Json) -> dict[str, Json]:
    """`GET /v1/license` of a healthy license, with what a test changes."""
    said: dict[str, Json] = {
        "schema": 1,
        "state": "active",
        "reasons": ["ok"],
        "since": NOW - DAY,
        "until": NOW + 300 * DAY,
        "permits": {"run": True, "change": True, "create": True, "paid_features": True},
        "features": ["backup", "mail"],
        "limits": {"accounts": 100},
        "tier": "standard",
        "reseller": {"name": "Örnek Hosting", "email": "destek@hosting.example", "phone": None, "url": None},
        "next_action": {"code": "none", "tr": "Bir şey yapmanız gerekmiyor.", "en": "Nothing needs to be done."},
        "as_of": NOW,
        "good_until": NOW + 7 * DAY,
        "last_success": NOW,
        "warnings": [],
    }
    return said | members


def answer(**license_members: Json) -> dict[str, Json]:
    """`GET /v1/answer`."""
    return {
        "schema": 1,
        "license": license_(**license_members),
        "consent": {
            "schema": 1,
            "purposes": {
                "license_status": {"permitted": True, "reasons": []},
                "license_renewal": {"permitted": False, "reasons": []},
                "usage_statistics": {
                    "permitted": False,
                    "reasons": [
                        {"reason": "not_asked", "what": None, "place": "consent.toml", "line": None},
                        {"reason": "opt_out", "what": "do-not-track", "place": "/etc", "line": None},
                    ],
                },
            },
            "do_not_track": [],
            "offline": [],
        },
        "advisories": [],
        "last_left": {
            "id": "usage-0123456789abcdef",
            "purpose": "usage_statistics",
            "at": NOW - DAY,
            "url": "https://reports.example/v1/reports/usage_statistics",
        },
        "reports": {"held": 2, "next": NOW + 2 * DAY},
        "isolation": {"level": "none", "missing": ["systemd_sockets"]},
        "next_run": {"at": NOW + DAY},
        "root": {"name": "urn:opanel:demo", "seq": 1, "sha256": "ab" * 32, "exp": NOW + 900 * DAY},
        "last_check": {"at": NOW, "failure": None},
    }


def problem(status: int, code: str, **more: Json) -> Said:
    """An RFC 9457 problem, as the resident writes them."""
    told: Mapping[str, Json] = {
        "type": f"urn:opanel:problem:{code}",
        "title": "…",
        "status": status,
        "code": code,
        **more,
    }
    return Said(status=status, body=json.dumps(told).encode())


class _Server(ThreadingUnixStreamServer):
    porter: Porter
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: what came in is in `asked`."""

    def _answer(self) -> None:
        told = self.server.porter
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        media = self.headers.get("Content-Type", "")
        asked = Asked(method=self.command, path=self.path, media=media, body=body)
        told.asked.append(asked)
        said = told.next_for(asked)
        self.close_connection = True
        if said.after_s and told.gone.wait(said.after_s):
            return
        if said.raw is not None:
            self.wfile.write(said.raw)
            return
        self.send_response(said.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said.body)))
        self.end_headers()
        self.wfile.write(said.body)


def _read(asked: Asked) -> Any:
    return json.loads(asked.body) if asked.media == "application/json" else asked.body
