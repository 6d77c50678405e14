"""How many connections a port takes, by the descriptors that the process may have."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest

from modelpress.sidecar import listener
from modelpress.sidecar.connections import MOST

LIMITS = resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[tuple[int, int]]]:
    """Pretends other limits; what is set comes into the list."""
    was_set: list[tuple[int, int]] = []

    def limit(soft: int, hard: int) -> list[tuple[int, int]]:
        monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", lambda which, pair: was_set.append(pair))
        return was_set

    return limit


def test_a_low_soft_limit_is_raised_as_far_as_is_needed(limited):
    was_set = limited(1024, 1 << 20)
    assert listener.most_connections() == (MOST, listener.RESERVE // 4)
    assert was_set == [(2 * MOST + listener.RESERVE, 1 << 20)]


def test_where_it_cannot_be_raised_clients_get_what_administration_and_the_model_leave(limited):
    was_set = limited(1024, 1024)
    most, few = listener.most_connections()
    assert (most, few) == (256, 128)
    assert 2 * most + few < 1024
    assert was_set == [(1024, 1024)]


def test_without_a_limit_nothing_is_changed(limited):
    was_set = limited(resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert listener.most_connections()[0] == MOST
    assert was_set == []
