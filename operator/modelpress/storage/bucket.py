"""A namespace's part of a remote store: files checked on the way down, and a first writer who wins."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from modelpress.api.artifact import File
from modelpress.api.errors import Invalid
from modelpress.storage import listing, remote, staging
from modelpress.storage.remote import Place
from modelpress.telemetry.progress import Progress, Silent

ROLE = "artifacts"


class Bucket:
    """Names are paths below `<uri>/<namespace>`. Failures: see `remote.failures`."""

    def __init__(self, place: Place, uri: str, namespace: str, *, field: str) -> None:
        self._filesystem, self._uri, self._field = place.filesystem, uri, field
        self._base = f"{place.path}/{namespace}"
        digest = hashlib.sha256(uri.encode()).hexdigest()[:24]
        self.mirror = staging.root() / "stores" / digest
        """Where this machine keeps what it wrote and read of the store, all namespaces together."""

    def read(self, name: str) -> bytes | None:
        """The content; None where there is no such file."""
        with self._failures():
            try:
                content: bytes = self._filesystem.cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return content

    def create(self, name: str, content: bytes) -> bytes:
        """Creates the file unless it exists, and returns what it holds: of two writers the loser reads the winner's.

        The store itself decides: `If-None-Match: *` of S3 and Azure, `ifGenerationMatch=0` of Google.
        """
        with self._failures():
            try:
                self._filesystem.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                found: bytes = self._filesystem.cat_file(self._path(name))
                return found
            return content

    def replace(self, name: str, content: bytes) -> None:
        """Writes the file, whole or not at all, whatever was there; for the one writer of a name."""
        with self._failures():
            self._filesystem.pipe_file(self._path(name), content)

    def upload(self, root: Path, name: str, *, progress: Progress | None = None) -> None:
        """Sends every file below `root` to the folder `name`."""
        files = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
        total = sum(path.stat().st_size for path in files.values())
        text = f"Uploading {listing.mebibytes(total)} to {self._uri}"
        with (progress or Silent()).step(text, total=total / listing.MIB) as step, self._failures():
            for inside, path in files.items():
                self._filesystem.put_file(str(path), self._path(f"{name}/{inside}"))
                step.advance(path.stat().st_size / listing.MIB)

    def remove(self, name: str) -> None:
        """Removes a folder, if it is there."""
        with self._failures(), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm(self._path(name), recursive=True)

    def download(
        self,
        name: str,
        listed: Iterable[File],
        directory: Path,
        *,
        what: str = "",
        progress: Progress | None = None,
    ) -> None:
        """Fetches the listed files of the folder `name`. Raises Invalid `DigestMismatch`."""
        files = tuple(listed)
        total = sum(file.size for file in files)
        text = f"Downloading {what or name}, {listing.mebibytes(total)}"
        with (progress or Silent()).step(text, total=total / listing.MIB) as step:
            for file in files:
                self._download(name, file, directory)
                step.advance(file.size / listing.MIB)

    def fetch(self, name: str, directory: Path) -> None:
        """Fetches all there is in the folder `name`, unchecked."""
        base = self._path(name)
        with self._failures():
            for path in sorted(self._filesystem.find(base)):
                target = directory / PurePosixPath(path).relative_to(base)
                target.parent.mkdir(parents=True, exist_ok=True)
                self._filesystem.get_file(path, str(target))

    def _download(self, name: str, file: File, directory: Path) -> None:
        inside = PurePosixPath(file.path)
        if inside.is_absolute() or ".." in inside.parts:
            raise Invalid("InvalidListing", f"{file.path} would lie outside of {name}; the manifest was tampered with")
        target = directory / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._failures():
            self._filesystem.get_file(self._path(f"{name}/{file.path}"), str(target))
        found = listing.sha256(target)
        if found != file.sha256:
            raise Invalid(
                "DigestMismatch",
                f"{self._uri} holds {name}/{file.path} with sha256 {found}, {file.sha256} was written; restore it or "
                "compress again",
                field=self._field,
            )

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        with remote.failures(self._uri, role=ROLE, field=self._field):
            yield
