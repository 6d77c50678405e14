"""Which questions are asked most: those that a new revision is asked first, before anybody waits for the answers.

A. Metwally, D. Agrawal, A. El Abbadi: Efficient computation of frequent and top-k elements in data streams (2005): the
least counted makes room and hands on its count. Only one hit in `EVERY` is looked at.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from blake3 import blake3

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.tiers import record
from modelpress.sidecar.tiers.record import Spoiled

EVERY = 64
"""A power of two."""
CAPACITY = 512
TOP = 256
LARGEST_BODY = 2**16
LARGEST_ALL = 4 * 2**20
"""Bytes of all bodies together."""
NOTE = "popular"
"""Name of the document that is handed over."""

Protocol = Literal["grpc", "rest"]


class Asked(NamedTuple):
    """A request that can be asked again, with the path and the body as they came."""

    protocol: Protocol
    path: str
    body: bytes


class Popular:
    """Counts by canonical key."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._asked: dict[bytes, Asked] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def knows(self, key: bytes) -> bool:
        """Counts it once more, if it is known at all."""
        if key not in self._counts:
            return False
        self._counts[key] += 1
        return True

    def add(self, key: bytes, asked: Asked) -> None:
        """Something not known yet; large requests are left out."""
        if len(asked.body) > LARGEST_BODY:
            return
        least = 0
        if len(self._counts) >= CAPACITY:
            key_of_least = min(self._counts, key=self._counts.__getitem__)
            least = self._counts.pop(key_of_least)
            del self._asked[key_of_least]
        self._counts[key] = least + 1
        self._asked[key] = asked

    def top(self) -> list[Asked]:
        """The most popular first."""
        return [self._asked[key] for key in sorted(self._counts, key=self._counts.__getitem__, reverse=True)]

    def fade(self) -> None:
        """Halves all counts, so that what was popular once makes room."""
        self._counts = {key: count // 2 for key, count in self._counts.items()}


def chosen(asked: Iterable[Asked]) -> list[Asked]:
    """The first of them, each once, within the bounds of number and bytes."""
    found, size = list[Asked](), 0
    for one in dict.fromkeys(asked):
        size += len(one.body)
        if len(found) == TOP or size > LARGEST_ALL:
            break
        found.append(one)
    return found


def encode(model: str, asked: Iterable[Asked], *, now: float) -> bytes:
    """A document to be handed over; `now` in Unix seconds."""
    text = json.dumps([[one.protocol, one.path, base64.b64encode(one.body).decode()] for one in asked])
    return record.encode(_key(model), Answer(0, (), text.encode()), born=now)


def decode(model: str, content: bytes, *, now: float) -> list[Asked]:
    """What was handed over for this model; nothing where it is not whole."""
    try:
        entries: Any = json.loads(record.decode(_key(model), content, now=now).answer.body)
        return [_asked(*entry) for entry in entries][:TOP]
    except (Spoiled, ValueError, TypeError, binascii.Error):
        return []


def _asked(protocol: Any, path: Any, body: Any) -> Asked:
    if protocol not in ("grpc", "rest") or not isinstance(path, str):
        raise ValueError
    return Asked(protocol, path, base64.b64decode(body, validate=True))


def _key(model: str) -> bytes:
    return blake3(f"popular requests of {model}".encode()).digest()
