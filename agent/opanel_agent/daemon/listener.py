"""Provides the listening socket: systemd's, where it holds one for us, or one of our own.

systemd passes sockets as descriptors from 3 on and names them in LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID
(sd_listen_fds(3)). Such a socket outlives the daemon, so nobody who connects while it is started anew is refused. What
is not meant for this process, or is no Unix socket that listens on our path, is closed.

`ListeningSocket` accepts without what `socket.accept` asks of each client.
"""

import _socket
import os
import select
import socket
import stat
from collections.abc import Mapping
from typing import Final

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage, Unavailable
from opanel_agent.system import errno_codes

BACKLOG: Final = 4096  # the most that Linux grants unless net.core.somaxconn was raised: refusing is worse than waiting
FIRST_DESCRIPTOR: Final = 3  # sd_listen_fds(3)
PASSED_MAX: Final = 16  # more were never asked for
_PATH_MAX_BYTES: Final = 107  # sun_path, less its NUL
_UCRED_BYTES: Final = 12  # pid, uid and gid (unix(7))


# The interpreter's own type below `socket.socket`, whose constructor is 2 of the 12 µs that such a client costs that only
# connects and leaves (Python 3.11, 2026-11-29).
Accepted = _socket.socket
_FAMILY: Final = int(socket.AF_UNIX)
_KIND: Final = int(socket.SOCK_STREAM)


class ListeningSocket(socket.socket):
    """Is a listening Unix socket."""

    def accept_client(self) -> Accepted:
        """Returns the next client's socket. Raises OSError; BlockingIOError where nobody waits.

        `socket.accept` does the same and looks up the family, the type and the time-out of each as enums and objects.
        """
        descriptor, _ = self._accept()  # type: ignore[attr-defined]  # what `socket.accept` itself calls
        return Accepted(_FAMILY, _KIND, 0, descriptor)

    def waited_at(self) -> bool:
        """Tells whether a client waits to be accepted.

        accept(2) cannot tell where descriptors are out: it asks for one before it looks into its queue.
        """
        queue = select.poll()
        queue.register(self, select.POLLIN)
        return bool(queue.poll(0))

    @property
    def listening_process(self) -> bytes:
        """Returns the credentials of the process that called listen(2): what each client sees as its peer's."""
        return self.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED_BYTES)


def passed_listeners(environment: Mapping[str, str], pid: int, path: str) -> list[ListeningSocket]:
    """Returns the sockets that systemd passed to this process and that listen on this path; others are closed."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(pid) or not count.isdecimal():
        return []
    descriptors = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + min(int(count), PASSED_MAX))
    return [found for found in (_adopt(descriptor, path) for descriptor in descriptors) if found is not None]


def _adopt(descriptor: int, path: str) -> ListeningSocket | None:
    try:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the os module's own signature
        adopted = ListeningSocket(fileno=descriptor)
    except OSError:  # no socket, or closed
        return None
    try:
        if (
            adopted.family == socket.AF_UNIX
            and adopted.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
            and adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            and adopted.getsockname() == path
        ):
            adopted.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            return adopted
    except OSError:
        pass
    adopted.close()
    return None


def bind_listener(path: str) -> ListeningSocket:
    """Returns a new socket that listens on this path, mode 0660, in the place of one that nobody listens on.

    Raises Unavailable where another program listens there, Storage where something else lies there or binding fails.
    """
    if len(os.fsencode(path)) > _PATH_MAX_BYTES:
        raise Storage(Fault.IO_FAILED, "socket_path_long", path=path, max_bytes=_PATH_MAX_BYTES)
    _remove_stale_socket(path)
    listener = ListeningSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)  # 0660 from its first moment: a chmod after bind would leave a gap
    try:
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _storage(error, "socket_failed", path) from error
    finally:
        os.umask(before)
    listener.setblocking(False)  # noqa: FBT003 - the socket module's own signature
    return listener


def leads_to(path: str, listeners: list[ListeningSocket]) -> bool:
    """Tells whether whoever connects to this path reaches one of these sockets.

    The path itself cannot tell: a file of the same name may be another socket's, or a dead one's. So it connects, and
    compares who called listen(2) there. A full backlog is somebody who listens.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        try:
            probe.connect(path)
        except BlockingIOError:
            return True
        except OSError:
            return False
        peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED_BYTES)
        return any(listener.listening_process == peer for listener in listeners)


def _remove_stale_socket(path: str) -> None:
    """Removes a socket that nobody listens on."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise Storage(Fault.FILE_REFUSED, "socket_path_taken", path=path)
        if _has_listener(path):
            raise Unavailable(Fault.ALREADY_RUNNING, "socket_in_use", path=path)
        os.unlink(path)  # noqa: PTH108 - pathlib is 0.7 MB that stay
    except FileNotFoundError:
        return
    except OSError as error:
        raise _storage(error, "socket_failed", path) from error


def _has_listener(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # its queue is full, so there is someone
            return True
        return True


def _storage(error: OSError, detail: str, path: str) -> Storage:
    return Storage(errno_codes.fault_of(error), detail, path=path, cause=errno_codes.name_of(error))
