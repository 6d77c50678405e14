"""A row of the table of supported fields, and the usual kinds of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from modelpress.api.rules import Where

Verdict = Literal["Honoured", "Reported", "Refused"]
NOT_SUPPORTED = "FieldNotSupported"
IGNORED = "FieldsIgnored"


class Row(NamedTuple):
    """What is made of a field, or of all fields below it, in a cluster and locally."""

    path: str
    """List items are `[]`."""
    cluster: Verdict
    local: Verdict
    why: str = ""
    """Half a sentence."""
    cure: str = ""
    """What to do instead, half a sentence."""
    values: Callable[[Any], bool] | None = None
    """Values the row is about; None: any but the default."""
    shown_values: str = ""
    """The same in words."""
    reason: str = NOT_SUPPORTED

    def verdict(self, where: Where) -> Verdict:
        """The verdict in a cluster, or locally."""
        return self.cluster if where == "Cluster" else self.local

    def covers(self, leaf: str) -> bool:
        """Whether a leaf is the field itself or lies below it."""
        return leaf == self.path or leaf.startswith((self.path + ".", self.path + "[]."))


def honoured(*paths: str) -> tuple[Row, ...]:
    """Honoured everywhere."""
    return tuple(Row(path, "Honoured", "Honoured") for path in paths)


def refused(path: str, why: str, cure: str, *values: Any, reason: str = NOT_SUPPORTED) -> Row:
    """Refused everywhere: these values, or any but the default."""
    about = (lambda value: value in values) if values else None
    return Row(path, "Refused", "Refused", why, cure, about, ", ".join(str(value) for value in values), reason)


def cluster_only(*paths: str) -> tuple[Row, ...]:
    """Honoured in a cluster, listed in a local run."""
    why = "only a cluster can honour it, `modelpress run` goes on without"
    return tuple(Row(path, "Honoured", "Reported", why, reason=IGNORED) for path in paths)


def _scheme(uri: Any) -> str:
    return str(uri).split(":", 1)[0] if ":" in str(uri) else ""


def schemes(path: str) -> tuple[Row, Row]:
    """Only claims in a cluster; claims, files and paths locally."""
    return (
        Row(
            path,
            "Refused",
            "Honoured",
            "this release reads and writes pvc://claim/path in a cluster",
            "copy it into a PersistentVolumeClaim and write pvc://claim/path",
            lambda uri: _scheme(uri) != "pvc",
            "s3, gs, az, http, https, hf, oci, file, paths",
            "UnsupportedScheme",
        ),
        Row(
            path,
            "Honoured",
            "Refused",
            "this release reads and writes paths, file: and pvc:// locally",
            "copy it to this machine and write its path",
            lambda uri: _scheme(uri) not in ("pvc", "file", ""),
            "s3, gs, az, http, https, hf, oci",
            "UnsupportedScheme",
        ),
    )


def unneeded(*paths: str) -> tuple[Row, ...]:
    """Secrets that nobody reads in this release."""
    why = "claims, files and paths need no credentials, so this Secret is not read"
    return tuple(Row(path, "Reported", "Reported", why, "leave it out", reason=IGNORED) for path in paths)
