"""Writes to the journal by its native protocol: one datagram an event, with MESSAGE_ID (systemd.journal-fields(7)).

`MESSAGE_IDS` is the one table of events and what each is known by for ever; docs/json.md has it for those who alert on
one. Where stderr is no stream of the journal's (a terminal, a container, the demo), or the journal does not take the
datagram, the event becomes a line on stderr (`log`). Whoever is about to end should not send: the journal looks up the
sender's unit when it reads, and finds none for a process that has gone. So the daemon tells what its jobs found.

Nothing is imported but what the daemon has already.
"""

import os
import socket
from collections.abc import Mapping
from typing import Final

from opanel_agent.core.text_safety import escape
from opanel_agent.system import log

SOCKET: Final = "/run/systemd/journal/socket"
IDENTIFIER: Final = "opanel-agent"
MESSAGE_IDS: Final[Mapping[str, str]] = {
    "advisories_refused": "9d3c51f07a8e4b62b1f4e07c2d6a9358",
    "advisories_state_lost": "4ab223e8c9faa12171995bc387a3042a",
    "answer_not_written": "0d4073f1d9587352a07a7c8ebcb4d2d9",
    "aside_purged": "8b56f711e24b582c3e1145764191e9f4",
    "clone_found": "5f30a0a50374e27088ed27a30269983d",
    "collector_failed": "f21c815771744bcbae5095fe159cbfd1",
    "command_failed": "87f5e9db687fefbd0e362a1d45e278b7",
    "consent_changed": "f20432697cda796725a9a282b8d121c6",
    "crash_not_noted": "61fa3faaca4ccfb9f0cab5df42b31ba1",
    "crashes_lost": "32bc88bfa792cfc527436283e4412e38",
    "document_adopted": "71605cf8f3baebef7094e89fd2d12a8b",
    "document_refused": "98f9562d24deda61bb45496003efca3b",
    "document_unreadable": "4fbcab1bdc2008da1c13006f61fa0164",
    "documents_left": "2776b63740b2dc64a52293b9562229d4",
    "hold_extended": "32dc399609eb483687670b823bb487b1",
    "holds_restarted": "52bad635e5e5374d3bc3c6098615f494",
    "job_failed": "c07189323be7830107d517000edff0e8",
    "job_recovered": "d07ad5e35e3a34409cf1026aaf4e739e",
    "ledger_broken": "dbb0caf5ca2a3d143bd2d4d670f258b0",
    "ledger_not_written": "3fd20f753379895649e97c4ace636973",
    "ledger_torn_line_cut": "aa15a32a39ad5e313972a96943e462a6",
    "ledger_unusable": "4a5f47a58acadac7f08d2f7699b34a0b",
    "license": "1e5fb56cdd39d100fdfe5cd87a531a19",
    "license_not_renewed": "292c28b1139c6841f4195ce8a7c34597",
    "license_released": "118177557e91939c39f1302fb4df44bf",
    "license_renewed": "98f77bd16660ff6e9c5ba76af3b53b98",
    "license_begun": "ef966f05ae3a40fc9db70442c776ba5e",
    "license_waits": "92115eaebc24477c88352f8f47de9bd0",
    "license_warning": "ddf058403b163b58dd845226db1b5fe4",
    "no_answer": "6d2f0a9b41c84e7f9a3d5be8702c14f6",
    "purged": "29add3b6928044b49978d8f5b6fb95b7",
    "receipt_refused": "181ea244f10312789e887e8315721b73",
    "receipt_unreadable": "330a29b66e72d1beaa4012891fb621a7",
    "reports_failed": "f14d93e928aba59863b044146a37e8ca",
    "request_interrupted": "f9b9e8fc027b277b388df7b98821e7ba",
    "rights_receipt": "ce65f0e51eb42a0fe95074edbab33888",
    "security_advisory": "7ba1fcd8575d9f73d09ae6bfc8c652d4",
    "socket_healed": "5a1f0d7c3be94d5c8f2b61d9407e83aa",
    "socket_not_healed": "c2e6b3f4907d4b1d9a75e08d3f6c1b52",
    "started": "8c7c00901b89fba254b6f606cc5290b7",
    "state_forgotten": "2d04147b56f361f97f452343d24f2fc0",
    "state_not_saved": "c770a0dffbce47dcbcead6d61d8e88ab",
    "state_set_aside": "abd0faa06d57ddc75fe627a83b2a65a6",
    "state_stays_broken": "b8f92a49d71ebdfe72ea89feb5a19d96",
    "state_unusable": "477b4a8fe2f3ad4e10a312c442c6cb44",
    "status_list_refused": "c7e1a4d2905b4f36a8d07b19e4f26c83",
    "stopped": "44cb147436261389b3b7ee0a776d9a8f",
}


class Journal:
    """`stderr` is a descriptor: the journal gave it to this process where JOURNAL_STREAM names it (systemd.exec(5))."""

    def __init__(self, environment: Mapping[str, str], *, address: str = SOCKET, stderr: int = 2) -> None:
        self._address = address if _is_stream(environment.get("JOURNAL_STREAM", ""), stderr) else ""

    def write(self, event: str, *, level: str = "info", message: str = "", **fields: object) -> None:
        """Writes one event. Without a `message` its text is the line that stderr would get, less the priority."""
        if self._address and self._send(entry(event, level, message, fields)):
            return
        log.log_event(event, level=level, **fields)

    def _send(self, datagram: bytes) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)  # noqa: FBT003 - the socket module's own signature
                sender.sendto(datagram, self._address)
        except OSError:
            return False
        return True


def entry(event: str, level: str, message: str, fields: Mapping[str, object]) -> bytes:
    """Returns the datagram: a line `NAME=value` a field, in UTF-8.

    The protocol's other form, for values that have lines themselves, is not needed: an unsafe character is escaped.
    """
    fields_ = {
        "MESSAGE": message or log.format_event(event, fields),
        "PRIORITY": log.priority(level),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "OPANEL_EVENT": event,
        **{f"OPANEL_{name.upper()}": value for name, value in fields.items()},
    }
    if event in MESSAGE_IDS:
        fields_["MESSAGE_ID"] = MESSAGE_IDS[event]
    return "".join(f"{name}={escape(str(value))}\n" for name, value in fields_.items()).encode()


def _is_stream(named: str, stderr: int) -> bool:
    try:
        found = os.fstat(stderr)
    except OSError:  # closed before this process began
        return False
    return named == f"{found.st_dev}:{found.st_ino}"
