"""What a client may send that asks for work and brings nothing: resets, pings, settings, empty frames."""

from __future__ import annotations

from collections.abc import Callable

from modelpress.sidecar.frames import Code, ProtocolError

BURST = 2000
PER_SECOND = 200


class Nuisance:
    """A budget of `BURST`, which time and answered requests fill again; beyond it the connection ends.

    Clients whose deadlines pass reset their streams, too: those resets are paid by the requests that came whole.
    """

    __slots__ = ("_left", "_now", "_since")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left = BURST
        self._since = now()

    def add(self) -> None:
        """One more; raises ProtocolError where there were too many."""
        self._left -= 1
        if self._left < 0:
            now = self._now()
            self._left = min(int((now - self._since) * PER_SECOND), BURST) - 1
            self._since = now
            if self._left < 0:
                raise ProtocolError(Code.ENHANCE_YOUR_CALM, "Too many frames that bring nothing")

    def earn(self) -> None:
        """A request has come whole."""
        if self._left < BURST:
            self._left += 1
