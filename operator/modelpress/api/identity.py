"""Names by content: digests of files, and the request, artifact and evaluation keys (docs: "Identity").

A key is the first 64 hex digits of SHA-256 over canonical JSON (RFC 8785 in spirit: sorted keys, no spaces, UTF-8);
in the names of Kubernetes objects its first ten digits are used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Protocol

KEY_LENGTH_IN_NAMES = 10


class Digested(Protocol):
    """A file known by path, size in bytes, and the hex SHA-256 of its content."""

    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


def canonical(value: Any) -> bytes:
    """Canonical JSON of a JSON-ready value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def key(value: Any) -> str:
    """64 hex digits that name a JSON-ready value."""
    return hashlib.sha256(canonical(value)).hexdigest()


def content_digest(files: Iterable[Digested]) -> str:
    """`sha256:<hex>` over the sorted (path, size, sha256) of the files of a model or data set."""
    listing = sorted((file.path, file.size, file.sha256) for file in files)
    return "sha256:" + key([list(entry) for entry in listing])
