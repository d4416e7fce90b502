"""Selects the environment variables that a process of ours inherits: the one allow-list.

Everything else is dropped: what steers Python (`PYTHON*`), the loader (`LD_*`), OpenSSL (`SSL_CERT_*`), a proxy
(`*_PROXY`) or systemd's notification (`NOTIFY_SOCKET`, `WATCHDOG_*`) must not reach a process that decides what may leave.

No import but typing: the daemon loads this module.
"""

from collections.abc import Iterable, Mapping
from typing import Final

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What every process of ours gets as `PATH`, whatever the caller's was."""

OPT_OUT_VARIABLES: Final = ("DO_NOT_TRACK", "OPANEL_AGENT_DO_NOT_TRACK")
_ALWAYS: Final = ("LANG",)
_USER_FOLDERS: Final = (
    "HOME",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
)
# CREDENTIALS_DIRECTORY leads to the DMI product UUID; JOURNAL_STREAM names the service's log (systemd.exec(5)).
_OF_THE_SERVICE: Final = ("JOURNAL_STREAM", "CREDENTIALS_DIRECTORY")


def opt_out_names(source: Iterable[str]) -> tuple[str, ...]:
    """Returns the names that mean an opt-out, sorted: in capitals or not, since a mistyped "no" is none the less one."""
    return tuple(sorted(name for name in source if name.upper() in OPT_OUT_VARIABLES))


def select(source: Mapping[str, str], *, user_folders: bool, service: bool = False) -> dict[str, str]:
    """Returns the part of `source` that a process of ours may inherit, and a fixed `PATH`.

    `user_folders`: `HOME` and the XDG base directories too, by which a user installation finds its files; a system
    installation has constant paths. `service`: systemd's variables for the unit too; only for evaluate, because the
    processes that reach the network must not learn where the machine's identifiers are.
    """
    allowed = (
        *_ALWAYS,
        *opt_out_names(source),
        *(_USER_FOLDERS if user_folders else ()),
        *(_OF_THE_SERVICE if service else ()),
    )
    return {"PATH": PATH} | {name: source[name] for name in allowed if name in source}
