"""At most so many requests are in the model; the others wait in line or are sent away."""

from __future__ import annotations

import asyncio

import pytest

from modelpress.sidecar.limiter import Limiter, Rules
from modelpress.sidecar.reason import Refusal, Refused


def a_limiter(limit: int, depth: int, timeout: float, least: int | None = None) -> Limiter:
    return Limiter(Rules(limit, depth, timeout, least), now=asyncio.get_running_loop().time())


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
    limiter = a_limiter(2, 5, 5)
    tasks = [await in_line(limiter) for _ in range(4)]
    assert [task.done() for task in tasks] == [True, True, False, False]
    assert (limiter.in_flight, limiter.queued) == (2, 2)
    limiter.release(0.1)
    limiter.release(0.1)
    await asyncio.gather(*tasks)
    assert (limiter.in_flight, limiter.queued) == (2, 0)


async def test_who_comes_first_is_served_first():
    limiter = a_limiter(1, 5, 5)
    await limiter.acquire(soon())
    first, second = await in_line(limiter), await in_line(limiter)
    limiter.release(0.1)
    await first
    assert not second.done()
    assert not limiter.take()  # nobody overtakes
    limiter.release(0.1)
    await second


async def test_a_full_line_refuses_at_once_and_says_when_to_come_again():
    limiter = a_limiter(1, 1, 5)
    await limiter.acquire(soon())
    limiter.release(2.0)
    await limiter.acquire(soon())
    waiting = await in_line(limiter)
    with pytest.raises(Refused) as refused:
        await limiter.acquire(soon())
    assert refused.value.reason is Refusal.QUEUE_FULL
    assert refused.value.retry_after == pytest.approx(2 * 2.0)  # two before it, 2 s each by what is known
    limiter.release(0.1)
    await waiting


async def test_a_line_of_depth_zero_lets_nobody_wait():
    limiter = a_limiter(1, 0, 5)
    await limiter.acquire(soon())
    assert await refusal(await in_line(limiter)) is Refusal.QUEUE_FULL


async def test_who_waited_too_long_is_refused():
    limiter = a_limiter(1, 1, 0.01)
    await limiter.acquire(soon())
    assert await refusal(await in_line(limiter)) is Refusal.QUEUE_TIMEOUT
    assert limiter.queued == 0


async def test_a_request_whose_own_deadline_passes_in_line_is_told_so():
    limiter = a_limiter(1, 1, 5)
    await limiter.acquire(soon())
    late = await in_line(limiter, deadline=asyncio.get_running_loop().time() + 0.01)
    assert await refusal(late) is Refusal.DEADLINE


async def test_cancelling_leaves_the_line():
    limiter = a_limiter(1, 1, 5)
    await limiter.acquire(soon())
    waiting = await in_line(limiter)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert limiter.queued == 0


async def test_a_place_given_to_a_request_that_is_cancelled_at_that_moment_is_not_lost():
    limiter = a_limiter(1, 2, 5)
    await limiter.acquire(soon())
    unlucky, next_one = await in_line(limiter), await in_line(limiter)
    limiter.release(0.1)
    unlucky.cancel()
    await asyncio.wait([unlucky])
    await next_one
    assert limiter.in_flight == 1


async def test_a_higher_limit_helps_those_who_wait():
    limiter = a_limiter(1, 2, 5)
    await limiter.acquire(soon())
    waiting = await in_line(limiter)
    limiter.configure(Rules(2, 2, 5), now=0)
    await waiting
    assert limiter.in_flight == 2


async def test_a_lower_limit_is_reached_as_places_are_given_back():
    limiter = a_limiter(2, 2, 5)
    await limiter.acquire(soon())
    await limiter.acquire(soon())
    limiter.configure(Rules(1, 2, 5), now=0)
    waiting = await in_line(limiter)
    limiter.release(0.1)
    await asyncio.sleep(0)
    assert not waiting.done()
    limiter.release(0.1)
    await waiting


async def test_who_would_wait_longer_than_the_longest_wait_is_refused_at_once_and_told_when_to_come_again():
    limiter = a_limiter(1, 9, 5)
    await limiter.acquire(soon())
    limiter.release(3.0)
    await limiter.acquire(soon())
    waiting = [await in_line(limiter), await in_line(limiter)]
    with pytest.raises(Refused, match="behind 2 others; the longest wait allowed is 5 s") as refused:
        await limiter.acquire(soon() + 99)
    assert refused.value.reason is Refusal.WAIT_TOO_LONG
    assert refused.value.retry_after == pytest.approx(9.0)
    for task in waiting:
        task.cancel()


async def test_who_would_wait_longer_than_its_deadline_is_refused_at_once():
    limiter = a_limiter(1, 9, 60)
    await limiter.acquire(soon())
    limiter.release(1.0)
    await limiter.acquire(soon())
    waiting = [await in_line(limiter), await in_line(limiter)]
    patient = await in_line(limiter, deadline=soon() - 2)
    assert await refusal(await in_line(limiter, deadline=soon() - 3.5)) is Refusal.WAIT_TOO_LONG
    assert not patient.done()
    for task in (*waiting, patient):
        task.cancel()


async def test_before_the_model_has_answered_nobody_is_refused_by_prediction():
    limiter = a_limiter(1, 9, 5)
    await limiter.acquire(soon())
    waiting = [await in_line(limiter) for _ in range(5)]
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()


async def test_a_model_that_was_slow_once_does_not_refuse_for_ever():
    limiter = a_limiter(1, 9, 1)
    await limiter.acquire(soon())
    limiter.release(60.0)
    for _ in range(100):  # those who find a place, or only a server before them, still get through
        await limiter.acquire(soon())
        waiting = await in_line(limiter)
        limiter.release(0.01)
        await waiting
        limiter.release(0.01)
    assert limiter.service_seconds < 0.1


async def test_a_place_is_not_wasted_on_a_request_whose_deadline_no_answer_of_late_would_meet():
    limiter = a_limiter(1, 9, 60)
    await limiter.acquire(soon())
    limiter.release(0.5)
    await limiter.acquire(soon())
    late = await in_line(limiter, deadline=asyncio.get_running_loop().time() + 0.3)
    next_one = await in_line(limiter)
    limiter.release(0.5)
    assert await refusal(late) is Refusal.DEADLINE
    await next_one


async def test_a_request_that_comes_after_its_deadline_is_refused_as_such():
    limiter = a_limiter(1, 9, 60)
    await limiter.acquire(soon())
    assert await refusal(await in_line(limiter, deadline=soon() - 6)) is Refusal.DEADLINE


async def test_less_patience_holds_for_those_who_wait_already():
    limiter = a_limiter(1, 9, 60)
    await limiter.acquire(soon())
    waiting = await in_line(limiter)
    limiter.configure(Rules(1, 9, 0.01), now=0)
    assert await refusal(waiting) is Refusal.QUEUE_TIMEOUT


async def test_more_patience_holds_for_those_who_wait_already():
    limiter = a_limiter(1, 9, 0.02)
    await limiter.acquire(soon())
    waiting = await in_line(limiter)
    limiter.configure(Rules(1, 9, 60), now=0)
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    limiter.release(0.01)
    await waiting


async def test_an_elastic_limit_begins_at_its_floor_and_lets_in_who_waits_as_it_grows():
    limiter = a_limiter(8, 99, 60, least=1)
    tasks = [await in_line(limiter) for _ in range(60)]
    assert limiter.limit == 1
    most = 0
    while not all(task.done() for task in tasks):
        most = max(most, limiter.in_flight)
        await asyncio.sleep(0.02)
        limiter.release(0.02)  # as fast with many beside it as alone: the limit may grow
        await asyncio.sleep(0)
    assert 1 < most <= 8
    assert limiter.state()["floor"] == 1


async def test_a_limit_becomes_elastic_and_fixed_again_without_losing_anybody():
    limiter = a_limiter(2, 9, 60)
    waiting = [await in_line(limiter) for _ in range(4)]
    limiter.configure(Rules(8, 9, 60, least=4), now=0)
    await asyncio.gather(*waiting)
    assert limiter.state()["effectiveMode"] == "Elastic"
    limiter.configure(Rules(2, 9, 60), now=0)
    assert (limiter.limit, limiter.in_flight, limiter.state()["effectiveMode"]) == (2, 4, "Fixed")
