"""Copies of listed files, checked byte by byte against their digests, visible only when complete."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path, PurePosixPath

from modelpress.api import identity
from modelpress.api.artifact import File
from modelpress.api.errors import Invalid
from modelpress.storage import durable, listing
from modelpress.telemetry.progress import Progress, Silent, Step


def copy(root: Path, listed: tuple[File, ...], destination: Path, *, progress: Progress | None = None) -> None:
    """Copies the listed files of `root` to the new directory `destination`.

    Raises Invalid `DigestMismatch` where a file is missing or is not what was listed, StorageFull where space runs out.
    """
    with durable.new_directory(destination) as directory:
        copy_into(root, listed, directory, progress=progress)


def copy_into(
    root: Path, listed: tuple[File, ...], directory: Path, *, what: str = "", progress: Progress | None = None
) -> None:
    """Like `copy`, into a directory that is not visible yet (`durable.new_directory`).

    `what` is copied, in the words of the progress shown; empty: the name of `root`.
    """
    total = sum(file.size for file in listed)
    text = f"Copying {what or root.name}, {listing.mebibytes(total)}"
    with (progress or Silent()).step(text, total=total / listing.MIB) as step, durable.writing(directory):
        for file in listed:
            _copy_file(_inside(root, file), _inside(directory, file), file, step)


def link(root: Path, listed: tuple[File, ...], destination: Path) -> None:
    """Like `copy`, for trusted files of the same store: hard links where the file system has them."""
    with durable.new_directory(destination) as directory:
        for file in listed:
            target = _inside(directory, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(_inside(root, file), target)
            except OSError:
                shutil.copyfile(_inside(root, file), target)


def verify(root: Path, digest: str, *, field: str = "", progress: Progress | None = None) -> tuple[File, ...]:
    """The files below `root`, if their content digest is `digest`; raises Invalid `DigestMismatch`."""
    listed = listing.files(root, field=field, progress=progress)
    found = identity.content_digest(listed)
    if found != digest:
        raise Invalid(
            "DigestMismatch",
            f"{root} has the digest {found}, {digest} was asked for; restore the content or change the digest",
            field=field,
        )
    return listed


def _inside(root: Path, file: File) -> Path:
    relative = PurePosixPath(file.path)
    if relative.is_absolute() or ".." in relative.parts:
        raise Invalid("InvalidListing", f"{file.path} would lie outside of {root}; the manifest was tampered with")
    return root / relative


def _copy_file(source: Path, target: Path, expected: File, step: Step) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    try:
        opened = source.open("rb")
    except FileNotFoundError as error:
        raise Invalid("DigestMismatch", f"{source} is listed but gone; restore it and try again") from error
    with opened, target.open("wb") as written:
        while chunk := opened.read(listing.CHUNK_BYTES):
            digest.update(chunk)
            written.write(chunk)
            step.advance(len(chunk) / listing.MIB)
    if digest.hexdigest() != expected.sha256:
        raise Invalid(
            "DigestMismatch",
            f"{source} changed while it was read: sha256 {digest.hexdigest()}, {expected.sha256} was listed; try again",
        )
