"""A panel's workers: so many at once ask in a loop, a new connection each time, until a file is there.

`herd.py SOCKET WORKERS FILE` makes `FILE.asks` once somebody was answered, and prints one JSON object in the end:
{outcome: number of requests}. Nothing is asked again but a request whose connection ended before a byte of its answer came,
once: a daemon that is killed takes what it has read along, and to ask again then is what docs/panel-integration.md wants of
every client. It is counted as "asked again" beside its outcome.
"""

import errno
import json
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

TIMEOUT_S = 20.0  # long: what counts here is who is refused, and the machine may be slow
ASK = b"GET /v1/license HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
CUT = "the connection ended"
AGAIN = "asked again"
RESTING_S = 0.002


def ask(path: str) -> str:
    got = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect(path)
            client.sendall(ASK)
            while more := client.recv(65536):
                got += more
        except (BrokenPipeError, ConnectionResetError):
            pass  # as it ends where the daemon was killed
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, type(error).__name__)
    head, _, body = got.partition(b"\r\n\r\n")
    if not got:
        return CUT
    status = head.split(b" ", 2)[1].decode("latin-1")
    return status if status != "200" or body.endswith(b"}") else "cut short"


def work(path: str, end: Path, outcomes: "Counter[str]", lock: threading.Lock) -> None:
    while not end.exists():
        outcome = ask(path)
        again = outcome == CUT
        if again:
            outcome = ask(path)
        with lock:
            outcomes[outcome] += 1
            outcomes[AGAIN] += again
            first = sum(outcomes.values()) - outcomes[AGAIN] == 1  # not total(): Debian 11 has Python 3.9
        if first:
            end.with_name(f"{end.name}.asks").touch()
        time.sleep(RESTING_S)


def main(path: str, workers: int, end: Path) -> None:
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()
    threads = [threading.Thread(target=work, args=(path, end, outcomes, lock)) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(outcomes) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
