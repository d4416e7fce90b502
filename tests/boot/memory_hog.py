"""A job that eats all memory: in an evaluate, `everything()` takes it until there is none, and dies of it."""

import os
import sys

MEBIBYTE = 1024 * 1024


def everything() -> None:
    if sys.orig_argv[-1] != "evaluate":
        return
    eaten: list[bytes] = []
    try:
        while len(eaten) < 4096:
            eaten.append(b"x" * MEBIBYTE)
    except MemoryError:
        size = len(eaten)
        eaten.clear()
        os.write(2, f"eat: refused at {size} MiB\n".encode())
    os._exit(1)
