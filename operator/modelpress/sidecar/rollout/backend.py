"""The candidate's Service: connections that are closed when the last call on them has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from modelpress.api.tunables import CandidateTunables
from modelpress.sidecar import address
from modelpress.sidecar.channel import Channel
from modelpress.sidecar.rest_upstream import RestUpstream

TRIAL = (b"x-modelpress-trial", b"1")
"""A header that tells a request to a candidate; who gets it sends it to nobody else."""


class Backend:
    """Made when a candidate is announced, retired when another takes its place or none is left."""

    def __init__(self, candidate: CandidateTunables) -> None:
        self.candidate = candidate
        self.channel = Channel(address.parse(candidate.grpc, field="rollout.candidate.grpc"))
        self.rest = RestUpstream(address.parse(candidate.rest, field="rollout.candidate.rest"))
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """For the time of a call."""
        self._users += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    async def retire(self) -> None:
        """Closes the connections, once nobody uses them."""
        await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Closes the connections at once."""
        await self.channel.close()
        await self.rest.close()
