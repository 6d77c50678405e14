"""The schedule behind the work queue, with time as an argument."""

from __future__ import annotations

import pytest

from modelpress.reconcile.queue import LAST_RETRY_SECONDS, Key, Schedule

BERT = Key("CompressedModel", "vision", "bert")
RESNET = Key("CompressedModel", "vision", "resnet50")


@pytest.fixture
def schedule():
    return Schedule(jitter=lambda: 0.0)


def taken(schedule, now):
    found = schedule.take(now)
    return found and found[0]


def test_a_burst_of_wishes_is_one_look(schedule):
    for _ in range(50):
        schedule.add(BERT, now=0)
    assert taken(schedule, 0) == BERT
    assert taken(schedule, 0) is None


def test_keys_come_in_the_order_in_which_they_are_due(schedule):
    schedule.add(BERT, now=0, delay=5)
    schedule.add(RESNET, now=0, delay=3)
    assert schedule.next_due() == 3
    assert taken(schedule, 2.9) is None
    assert [taken(schedule, 10), taken(schedule, 10)] == [RESNET, BERT]


def test_the_sooner_wish_wins(schedule):
    schedule.add(BERT, now=0, delay=600)
    schedule.add(BERT, now=10)
    schedule.add(BERT, now=10, delay=600)
    assert taken(schedule, 10) == BERT
    schedule.done(BERT)
    assert schedule.next_due() is None


def test_a_key_is_never_worked_on_twice_at_a_time(schedule):
    schedule.add(BERT, now=0)
    assert taken(schedule, 0) == BERT
    schedule.add(BERT, now=1)
    assert taken(schedule, 2) is None
    schedule.done(BERT)
    assert taken(schedule, 2) == BERT


def test_a_change_during_the_work_beats_the_recheck_after_it(schedule):
    schedule.add(BERT, now=0)
    schedule.take(0)
    schedule.add(BERT, now=1)
    schedule.add(BERT, now=2, delay=600)
    schedule.done(BERT)
    assert schedule.next_due() == 1


def test_failures_come_back_ever_later_up_to_five_minutes(schedule):
    delays = []
    for now in range(12):
        delays.append(schedule.retry(BERT, now))
        schedule.take(now + delays[-1])
        schedule.done(BERT)
    assert delays[:4] == [0.5, 1, 2, 4]
    assert delays[-1] == LAST_RETRY_SECONDS


def test_success_forgets_the_failures(schedule):
    schedule.retry(BERT, now=0)
    schedule.retry(BERT, now=0)
    schedule.forget(BERT)
    assert schedule.retry(BERT, now=0) == 0.5


def test_the_server_may_ask_for_more_time(schedule):
    assert schedule.retry(BERT, now=0, at_least=30) == 30


def test_chance_spreads_keys_that_failed_together():
    spread = iter([0.0, 1.0])
    schedule = Schedule(jitter=lambda: next(spread))
    assert [schedule.retry(BERT, now=0), schedule.retry(RESNET, now=0)] == [0.5, 0.4]


def test_depth_counts_what_is_due_and_age_what_is_under_way(schedule):
    schedule.add(BERT, now=0)
    schedule.add(RESNET, now=0, delay=60)
    assert (schedule.waiting(1), schedule.oldest()) == (1, None)
    schedule.take(1)
    assert (schedule.waiting(1), schedule.oldest()) == (0, 1)
