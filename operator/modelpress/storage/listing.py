"""The files of a model or data set with their digests, read as a stream; links never lead out of the tree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from modelpress.api import identity
from modelpress.api.artifact import File
from modelpress.api.errors import Invalid
from modelpress.telemetry.progress import Progress, Silent

MIB = 2**20
CHUNK_BYTES = 4 * MIB
EXTRA = "assets.extra"
"""Folder of a version directory that is no part of the model: warm-up requests and server settings."""


def newest_version(directory: Path) -> Path | None:
    """The numbered version directory with the highest number, as TensorFlow Serving counts them; None without any."""
    versions = [entry for entry in directory.iterdir() if entry.name.isascii() and entry.name.isdigit()]
    return max((entry for entry in versions if entry.is_dir()), key=lambda entry: int(entry.name), default=None)


def files(root: Path, *, field: str = "", what: str = "", progress: Progress | None = None) -> tuple[File, ...]:
    """Every file at or below `root`, sorted by path. A single file is listed under its own name.

    `what` is read, in the words of the progress shown; empty: the name of `root`.

    Raises Invalid `NotFound`, or `LinkLeavesTree` for a link out of the tree or to a directory.
    """
    root = root.resolve()
    if not root.exists():
        raise Invalid("NotFound", f"nothing is at {root}; check the path, and that it is mounted here", field=field)
    base = root.parent if root.is_file() else root
    paths = [root] if root.is_file() else sorted(_walk(root, root, field))
    total = sum(path.stat().st_size for path in paths)
    with (progress or Silent()).step(f"Reading {what or root.name}, {mebibytes(total)}", total=total / MIB) as step:
        listed = []
        for path in paths:
            digest, size = hashlib.sha256(), 0
            for chunk in _chunks(path):
                digest.update(chunk)
                size += len(chunk)
                step.advance(len(chunk) / MIB)
            listed.append(File(path=path.relative_to(base).as_posix(), size=size, sha256=digest.hexdigest()))
    return tuple(listed)


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def content_digest(root: Path, *, field: str = "", progress: Progress | None = None) -> str:
    """`sha256:<hex>` of the files at or below `root`."""
    return identity.content_digest(files(root, field=field, progress=progress))


def served_bytes(listed: tuple[File, ...]) -> int:
    """Bytes of a version directory without assets.extra."""
    return sum(file.size for file in listed if not file.path.startswith(f"{EXTRA}/"))


def mebibytes(size: int) -> str:
    """A number of bytes for people, such as `86.2 MiB`."""
    return f"{size / MIB:.1f} MiB"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


def _walk(directory: Path, root: Path, field: str) -> Iterator[Path]:
    for entry in directory.iterdir():
        if entry.is_symlink() and not _stays(entry, root):
            raise Invalid(
                "LinkLeavesTree",
                f"{entry} is a link to {entry.readlink()}, a directory or outside of {root}; copy what it points to",
                field=field,
            )
        if entry.is_dir():
            yield from _walk(entry, root, field)
        elif entry.is_file():
            yield entry


def _stays(link: Path, root: Path) -> bool:
    target = link.resolve()
    return target.is_file() and target.is_relative_to(root)
