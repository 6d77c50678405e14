"""Signals unwind a run as an exception does."""

from __future__ import annotations

import os
import signal

import pytest

from modelpress.compress.local import termination


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_raised_once_and_the_handlers_come_back(number, status):
    before = signal.getsignal(number)
    with pytest.raises(termination.Terminated) as raised, termination.raised():
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)
    assert raised.value.status == status
    assert signal.getsignal(number) is before
