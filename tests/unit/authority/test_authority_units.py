"""The service's units: systemd takes them, and the commands in them exist."""

import contextlib
import grp
import http.client
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from fixtures.authority.authority_server import serving
from opanel_authority.cli.main import _parser

UNITS = sorted((Path(__file__).parents[3] / "authority" / "systemd").iterdir())


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    ran = subprocess.run([program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    mine = [line for line in ran.stderr.splitlines() if unit.name in line and "not executable" not in line]
    assert mine == []


@pytest.mark.parametrize("unit", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: path.name)
def test_its_command_exists(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=.*?/usr/bin/opanel-authority ([^'\n]*)", unit.read_text("utf-8"), re.MULTILINE)
    _parser().parse_args(re.sub(r'"[^"]*"', "file", line).split())


@pytest.mark.parametrize("unit", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: path.name)
def test_a_web_server_gets_through_to_the_static_files(unit: Path) -> None:
    """Both units set the mode of the same directory: the last that was started would decide."""
    text = unit.read_text("utf-8")
    assert "StateDirectory=opanel-authority" in text
    assert re.findall(r"^StateDirectoryMode=(.*)$", text, re.MULTILINE) == ["0711"]
    assert "UMask=0077" in text


PAGE = Path(__file__).parents[3] / "docs" / "authority.md"


@pytest.mark.root
def test_the_web_server_of_the_page_serves_what_the_service_publishes() -> None:
    """As the page has it, but for ports and TLS, as a user of its own; the service under its unit's umask."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not installed (apt install nginx-light)")
    (block,) = re.findall(r"^```nginx\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o711)
        before = os.umask(0o077)
        stack.callback(os.umask, before)
        served = stack.enter_context(serving(folder, None, "--publish", str(folder / "public")))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        block = re.sub(r"^ *(listen \[|ssl_).*\n", "", block, flags=re.MULTILINE)
        block = block.replace("443 ssl", f"127.0.0.1:{port}").replace("8470", str(served.port))
        block = block.replace("/var/lib/opanel-authority", str(folder))
        user = pwd.getpwnam("nobody")
        group = grp.getgrgid(user.pw_gid).gr_name
        temporary = "".join(
            f"{name}_temp_path {folder}/temp;" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        http_part = f"http {{ error_log stderr; {temporary} {block} }}"
        settings = folder / "nginx.conf"
        settings.write_text(
            f"daemon off; user nobody {group}; pid {folder}/pid; error_log stderr; events {{ }} {http_part}"
        )
        (folder / "temp").mkdir()
        os.chown(folder / "temp", user.pw_uid, -1)
        process = subprocess.Popen([program, "-c", str(settings), "-p", str(folder)], stderr=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.terminate)

        def ask(method: str, path: str, body: bytes = b"") -> tuple[int, str | None, str | None]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            with contextlib.closing(connection):
                connection.request(method, path, body, {"Content-Type": "application/json"})
                reply = connection.getresponse()
                reply.read()
                return reply.status, reply.headers["Content-Type"], reply.headers["Cache-Control"]

        for _ in range(100):
            with contextlib.suppress(OSError):
                if ask("GET", "/v1/status.jwt")[0] == 200:
                    break
            time.sleep(0.1)
        assert ask("GET", "/v1/status.jwt") == (200, "application/statuslist+jwt", "public, max-age=60")
        assert ask("GET", "/v1/roots.jws") == (200, "application/jose", "public, max-age=300")
        assert ask("POST", "/v1/bundles", b"{}")[:2] == (400, "application/problem+json")
        assert ask("GET", "/api/v1/licenses")[0] == 401
        assert [ask("GET", path)[0] for path in ("/metrics", "/readyz", "/v1/../authority.sqlite")] == [404] * 3
        modes = {stat.S_IMODE(each.stat().st_mode) for each in (folder / "public").rglob("*")}
        assert modes == {0o755, 0o644}
