"""consent.toml and consent.d as an administrator wrote them, in a test's folder."""

from pathlib import Path

from fakes.terminal import Terminal
from opanel_agent.system.data import installed_notice

NOTICE = installed_notice()


def write(terminal: Terminal, *, usage: str = "false", crash: str = "false", notice: str = NOTICE) -> bytes:
    text = (
        f'schema = 1\nnotice = "{notice}"   # read by the board\n\n'
        f'[purposes.usage_statistics]\nallow = {usage}\nhold = "24h"\n\n'
        f"[purposes.crash_reports]\nallow = {crash}\n"
    )
    terminal.paths.consent.write_text(text)
    terminal.paths.consent.chmod(0o644)
    return text.encode()


def policy(terminal: Terminal, text: str) -> Path:
    file = terminal.paths.consent_dir / "50-fleet.toml"
    file.parent.mkdir(mode=0o755)
    file.write_text(text)
    file.chmod(0o644)
    return file
