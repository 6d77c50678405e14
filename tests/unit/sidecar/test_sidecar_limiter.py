"""At most so many requests are in the model; the others wait in line or are sent away."""

from __future__ import annotations

import asyncio

import pytest

from modelpress.sidecar.limiter import Limiter
from modelpress.sidecar.reason import Refusal, Refused


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


async def in_line(limiter: Limiter, **options) -> asyncio.Task[None]:
    """A request that has come as far as it can."""
    task = asyncio.get_running_loop().create_task(limiter.acquire(options.pop("deadline", soon()), **options))
    await asyncio.sleep(0)
    return task


async def refusal(task: asyncio.Task[None]) -> Refusal:
    with pytest.raises(Refused) as refused:
        await task
    return refused.value.reason


async def test_no_more_than_the_limit_get_a_place():
    limiter = Limiter(limit=2, depth=5, timeout=5)
    tasks = [await in_line(limiter) for _ in range(4)]
    assert [task.done() for task in tasks] == [True, True, False, False]
    assert (limiter.in_flight, limiter.queued) == (2, 2)
    limiter.release(0.1)
    limiter.release(0.1)
    await asyncio.gather(*tasks)
    assert (limiter.in_flight, limiter.queued) == (2, 0)


async def test_who_comes_first_is_served_first():
    limiter = Limiter(limit=1, depth=5, timeout=5)
    await limiter.acquire(soon())
    first, second = await in_line(limiter), await in_line(limiter)
    limiter.release(0.1)
    await first
    assert not second.done()
    assert not limiter.take()  # nobody overtakes
    limiter.release(0.1)
    await second


async def test_a_full_line_refuses_at_once_and_says_when_to_come_again():
    limiter = Limiter(limit=1, depth=1, timeout=5)
    await limiter.acquire(soon())
    limiter.release(2.0)
    await limiter.acquire(soon())
    waiting = await in_line(limiter)
    with pytest.raises(Refused) as refused:
        await limiter.acquire(soon())
    assert refused.value.reason is Refusal.QUEUE_FULL
    assert refused.value.retry_after == pytest.approx(2 * 0.2)  # two before it, 0.2 s each by what is known
    limiter.release(0.1)
    await waiting


async def test_a_line_of_depth_zero_lets_nobody_wait():
    limiter = Limiter(limit=1, depth=0, timeout=5)
    await limiter.acquire(soon())
    assert await refusal(await in_line(limiter)) is Refusal.QUEUE_FULL


async def test_who_waited_too_long_is_refused():
    limiter = Limiter(limit=1, depth=1, timeout=0.01)
    await limiter.acquire(soon())
    assert await refusal(await in_line(limiter)) is Refusal.QUEUE_TIMEOUT
    assert limiter.queued == 0


async def test_a_request_whose_own_deadline_passes_in_line_is_told_so():
    limiter = Limiter(limit=1, depth=1, timeout=5)
    await limiter.acquire(soon())
    late = await in_line(limiter, deadline=asyncio.get_running_loop().time() + 0.01)
    assert await refusal(late) is Refusal.DEADLINE


async def test_a_client_that_has_gone_gives_its_turn_to_the_next():
    limiter = Limiter(limit=1, depth=2, timeout=5)
    await limiter.acquire(soon())
    gone, next_one = await in_line(limiter, gone=lambda: True), await in_line(limiter)
    limiter.release(0.1)
    assert await refusal(gone) is Refusal.CLIENT_GONE
    await next_one
    assert limiter.in_flight == 1


async def test_cancelling_leaves_the_line():
    limiter = Limiter(limit=1, depth=1, timeout=5)
    await limiter.acquire(soon())
    waiting = await in_line(limiter)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert limiter.queued == 0


async def test_a_place_given_to_a_request_that_is_cancelled_at_that_moment_is_not_lost():
    limiter = Limiter(limit=1, depth=2, timeout=5)
    await limiter.acquire(soon())
    unlucky, next_one = await in_line(limiter), await in_line(limiter)
    limiter.release(0.1)
    unlucky.cancel()
    await asyncio.wait([unlucky])
    await next_one
    assert limiter.in_flight == 1


async def test_a_higher_limit_helps_those_who_wait():
    limiter = Limiter(limit=1, depth=2, timeout=5)
    await limiter.acquire(soon())
    waiting = await in_line(limiter)
    limiter.configure(limit=2, depth=2, timeout=5)
    await waiting
    assert limiter.in_flight == 2


async def test_a_lower_limit_is_reached_as_places_are_given_back():
    limiter = Limiter(limit=2, depth=2, timeout=5)
    await limiter.acquire(soon())
    await limiter.acquire(soon())
    limiter.configure(limit=1, depth=2, timeout=5)
    waiting = await in_line(limiter)
    limiter.release(0.1)
    await asyncio.sleep(0)
    assert not waiting.done()
    limiter.release(0.1)
    await waiting
