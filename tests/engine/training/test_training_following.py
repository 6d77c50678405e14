"""What the other workers do when they have trained: they stay until the chief is done, so that it may begin again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from modelpress.compress import following
from modelpress.compress.training import crew


@pytest.fixture
def chief() -> Iterator[socket.socket]:
    """A port that listens, as that of the chief's TensorFlow does as long as it lives."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_workers_stay_until_the_artifact_is_complete(chief: socket.socket) -> None:
    looks = iter([False, False, True])
    following.stay(lambda: next(looks), address(chief), period_seconds=0)
    assert next(looks, "all looks were taken") == "all looks were taken"


def test_workers_begin_again_with_a_chief_that_went_away_before_it_was_done(chief: socket.socket) -> None:
    threading.Timer(0.05, chief.close).start()
    with pytest.raises(crew.WorkerLost, match="worker 0 ended before its artifact was complete"):
        following.stay(lambda: False, address(chief), period_seconds=0.01)


def test_a_chief_that_ends_because_it_is_done_is_no_loss(chief: socket.socket) -> None:
    where, looks = address(chief), iter([False, True])
    chief.close()
    following.stay(lambda: next(looks), where, period_seconds=0)


def test_the_chief_is_the_first_of_the_addresses() -> None:
    told = {crew.ADDRESSES_VARIABLE: "a-0.svc:2222,a-1.svc:2222", crew.INDEX_VARIABLE: "1"}
    assert crew.chief(told) == "a-0.svc:2222"
    assert crew.chief({}) == ""
