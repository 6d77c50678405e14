"""Why a request was not answered from the cache or not let through: the `reason` labels of the metrics."""

from __future__ import annotations

from enum import StrEnum


class Bypass(StrEnum):
    """The request is forwarded as it is and its answer is not kept."""

    CACHE_DISABLED = "CacheDisabled"
    NOT_DETERMINISTIC = "NotDeterministic"
    NOT_EFFECTIVE = "NotEffective"
    """Mode Auto: the cache costs more than it saves; it is tried again now and then."""
    NOT_CACHEABLE = "NotCacheable"
    """Another method than Predict: Classify, Regress, MultiInference, metadata, status."""
    VERSION_UNKNOWN = "VersionUnknown"
    """The server has not reported exactly one available version."""
    OTHER_VERSION = "OtherVersion"
    VERSION_LABEL = "VersionLabel"
    OTHER_MODEL = "OtherModel"
    MALFORMED = "Malformed"
    UNKNOWN_FIELDS = "UnknownFields"
    UNSUPPORTED_TENSOR = "UnsupportedTensor"
    COMPRESSED = "Compressed"
    CANDIDATE = "Candidate"
    """The rollout sent the request to the candidate, whose own sidecar has its answers."""
    QUERY = "Query"
    """A REST request with a query string, which TF Serving does not define."""


class Refusal(StrEnum):
    """The request never reached the model."""

    QUEUE_FULL = "QueueFull"
    QUEUE_TIMEOUT = "QueueTimeout"
    WAIT_TOO_LONG = "WaitTooLong"
    """Refused at once: the line is so long that waiting would be in vain."""
    DEADLINE = "DeadlineExceeded"
    CLIENT_GONE = "ClientGone"
    TOO_LARGE = "TooLarge"
    MEMORY = "Memory"
    """The bodies of all requests together would not fit."""
    DENIED = "Denied"
    UNIMPLEMENTED = "Unimplemented"
    MALFORMED = "Malformed"
    """Not exactly one gRPC message: a server may wait for the rest of it, and would hold a place in the model."""
    INTERNAL = "Internal"
    """A fault of the sidecar."""


class Uncacheable(Exception):
    """Raised while a key is made; the request is forwarded without one."""

    def __init__(self, reason: Bypass) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Refused(Exception):
    """Raised where a request is turned away; `retry_after` is in seconds, None where trying again cannot help."""

    def __init__(self, reason: Refusal, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
