"""What fails again and again is left alone, and looked at again now and then."""

from __future__ import annotations

from modelpress.sidecar.tiers.breaker import FAILURES, LONGEST, Breaker


def broken() -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.fail(now=100)
    return breaker


def test_single_failures_do_not_open_it():
    breaker = Breaker()
    for _ in range(3 * FAILURES):
        breaker.fail(now=100)
        breaker.succeed()
    assert (breaker.is_open, breaker.opened) == (False, 0)


def test_failures_in_a_row_open_it_once():
    breaker = broken()
    breaker.fail(now=100)
    assert (breaker.is_open, breaker.opened) == (True, 1)


def test_probes_come_one_at_a_time_and_ever_more_seldom():
    breaker = broken()
    now, pauses = 100.0, []
    for _ in range(8):
        before = now
        while not breaker.is_probe_due(now):
            now += 0.5
        assert not breaker.is_probe_due(now)
        breaker.fail_probe(now)
        pauses.append(now - before)
    assert pauses == [1, 2, 4, 8, 16, LONGEST, LONGEST, LONGEST]


def test_a_probe_that_succeeds_closes_it():
    breaker = broken()
    breaker.fail_probe(now=101)
    breaker.succeed()
    assert not breaker.is_open
    assert not breaker.is_probe_due(now=1000)
    for _ in range(FAILURES):
        breaker.fail(now=1000)
    assert breaker.is_probe_due(now=1001)
