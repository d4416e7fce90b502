"""Threads of the service: one look for everybody who asks at once, and readers whom no writer keeps waiting."""

import asyncio
import threading
from contextvars import ContextVar
from functools import partial

import pytest

from opanel_authority.api.workers import READERS, WRITERS, Admission, Shared, Workers


class Looked:
    """Counts its looks; each ends when `ended` is set."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        mine = self.begun
        await self.ended.wait()
        return mine


async def settled() -> None:
    """Every task has gone as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_who_asks_while_a_look_is_under_way_waits_for_the_next_with_all_others() -> None:
    async def story() -> tuple[list[int], int]:
        look = Looked()
        shared = Shared(look)
        first = asyncio.ensure_future(shared.result())
        await settled()
        later = [asyncio.ensure_future(shared.result()) for _ in range(50)]
        await settled()
        assert look.begun == 1, "the second begins when the first has ended"
        look.ended.set()
        return [await first, *[await each for each in later]], look.begun

    answers, begun = asyncio.run(story())
    assert answers == [1, *[2] * 50]
    assert begun == 2


def test_who_asks_after_a_look_has_ended_gets_a_new_one() -> None:
    async def story() -> list[int]:
        look = Looked()
        look.ended.set()
        shared = Shared(look)
        return [await shared.result() for _ in range(3)]

    assert asyncio.run(story()) == [1, 2, 3]


def test_a_look_that_fails_fails_for_all_who_waited_and_for_no_later_one() -> None:
    async def story() -> None:
        failures = [OSError("first"), OSError("second")]

        async def look() -> str:
            await asyncio.sleep(0)
            if failures:
                raise failures.pop(0)
            return "good"

        shared = Shared(look)
        early = [asyncio.ensure_future(shared.result()) for _ in range(2)]
        found = await asyncio.gather(*early, return_exceptions=True)
        assert [str(each) for each in found] == ["first", "first"]
        with pytest.raises(OSError, match="second"):
            await shared.result()
        assert await shared.result() == "good"

    asyncio.run(story())


def test_who_goes_away_takes_the_answer_from_nobody_else() -> None:
    async def story() -> int:
        look = Looked()
        shared = Shared(look)
        gone, stays = (asyncio.ensure_future(shared.result()) for _ in range(2))
        await settled()
        gone.cancel()
        await settled()
        look.ended.set()
        return await stays

    assert asyncio.run(story()) == 1


def test_readers_are_answered_while_every_writer_waits() -> None:
    async def story() -> str:
        workers, released = Workers(), threading.Event()
        waiting = [asyncio.ensure_future(workers.write(released.wait)) for _ in range(10 * (READERS + WRITERS))]
        await settled()
        try:
            return await workers.read(lambda: "read")
        finally:
            released.set()
            await asyncio.gather(*waiting)

    assert asyncio.run(story()) == "read"


def test_work_is_done_in_the_context_of_who_asks() -> None:
    named: ContextVar[str] = ContextVar("named", default="nobody")

    async def story() -> tuple[str, str]:
        workers = Workers()
        named.set("a passphrase")
        return await workers.read(named.get), await workers.write(named.get)

    assert asyncio.run(story()) == ("a passphrase", "a passphrase")


def test_who_came_first_is_taken_up_first_and_few_at_a_time() -> None:
    async def story() -> tuple[list[int], int]:
        admission, taken, most = Admission(at_once=2, stalled_s=3600), [], 0
        under_way = 0

        async def act(number: int) -> None:
            nonlocal under_way, most
            taken.append(number)
            under_way += 1
            most = max(most, under_way)
            await settled()
            under_way -= 1

        await asyncio.gather(*(admission.take(partial(act, number)) for number in range(20)))
        return taken, most

    assert asyncio.run(story()) == ([*range(20)], 2)


def test_who_waits_for_long_keeps_nobody_out_and_leaves_one_place_once() -> None:
    async def story() -> list[str]:
        admission, free = Admission(at_once=1, stalled_s=0), asyncio.Event()

        async def stalled() -> str:
            await free.wait()
            return "stalled"

        async def quick() -> str:
            return "quick"

        first = asyncio.ensure_future(admission.take(stalled))
        await asyncio.sleep(0)  # it has the only place now
        assert admission.free == 0
        passed = await asyncio.wait_for(admission.take(quick), 10)
        free.set()
        return [passed, await first, f"{admission.free} free"]

    assert asyncio.run(story()) == ["quick", "stalled", "1 free"]


def test_a_failure_gives_its_place_back() -> None:
    async def story() -> str:
        admission = Admission(at_once=1, stalled_s=3600)

        async def fails() -> str:
            raise OSError("no")

        for _ in range(3):
            with pytest.raises(OSError, match="no"):
                await admission.take(fails)
        return f"{admission.free} free"

    assert asyncio.run(story()) == "1 free"
