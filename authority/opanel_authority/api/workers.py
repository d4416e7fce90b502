"""Where the work of a request is done, and in which order.

Whoever came first is taken up first, whatever he asks for, and few are worked on at a time: a crowd waits about equally
long, whether for a list or for an activation. (Were the quick requests first, clients who ask for one thing after the other
would all end up waiting for an activation.) Who is worked on for long does not compute, he waits: for the disk, for a
process that holds the books. Others are taken up then, and what only reads has threads of its own, so that no number of
writers, who take turns at the books (`books.database`), keeps a status list from everybody.

What is the same for everybody is looked up once for all who ask at the same time (`Shared`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

READERS: Final = 8
WRITERS: Final = 4
AT_ONCE: Final = 8
STALLED_S: Final = 0.1
_Result = TypeVar("_Result")


def _threads(name: str, count: int) -> Executor:
    return ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The threads of one service. They are started at their first use."""

    readers: Executor = field(default_factory=lambda: _threads("reads", READERS))
    writers: Executor = field(default_factory=lambda: _threads("writes", WRITERS))

    async def read(self, act: Callable[[], _Result]) -> _Result:
        """Do what waits for no writer. Raises what it raises."""
        return await _done_in(self.readers, act)

    async def write(self, act: Callable[[], _Result]) -> _Result:
        """Do what may write, after those that asked before. Raises what it raises."""
        return await _done_in(self.writers, act)


async def _done_in(threads: Executor, act: Callable[[], _Result]) -> _Result:
    """Returns in the context of the caller: a passphrase that was typed is in it."""
    return await asyncio.get_running_loop().run_in_executor(threads, copy_context().run, act)


class Admission:
    """Places for those who are worked on. Who has held one for `stalled_s` seconds leaves it to others, and goes on."""

    def __init__(self, *, at_once: int = AT_ONCE, stalled_s: float = STALLED_S) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._stalled_s = stalled_s
        self.free = at_once

    async def take(self, act: Callable[[], Awaitable[_Result]]) -> _Result:
        """Do this once everybody who asked before was taken up. Raises what it raises."""
        await self._places.acquire()
        self.free -= 1
        holds = True

        def leave() -> None:
            nonlocal holds
            if holds:
                holds = False
                self.free += 1
                self._places.release()

        timer = asyncio.get_running_loop().call_later(self._stalled_s, leave)
        try:
            return await act()
        finally:
            timer.cancel()
            leave()


class Shared(Generic[_Result]):
    """One look for everybody who asks at the same time, however many: no answer is older than its question.

    Who asks while a look is under way waits for the next one, which begins when that has ended: the one under way may have
    begun before what it is asked about.
    """

    def __init__(self, look: Callable[[], Awaitable[_Result]]) -> None:
        self._look = look
        self._under_way: asyncio.Future[_Result] | None = None
        self._next: asyncio.Future[_Result] | None = None

    async def result(self) -> _Result:
        """Returns what a look finds that begins now or later. Raises what it raises, for everybody who waits for it."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._begin_after(self._under_way))
        return await asyncio.shield(self._next)

    async def _begin_after(self, before: "asyncio.Future[_Result] | None") -> _Result:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._under_way, self._next = self._next, None
        return await self._look()
