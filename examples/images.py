"""Fashion-MNIST from the Debian package dataset-fashion-mnist: 60,000 + 10,000 photos of clothes, 28x28, 10 classes."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import fetching
import numpy as np

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
VARIABLE = "MODELPRESS_FASHION_MNIST"
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Of the files once unpacked: they are the same however a distribution packs them."""


class Images(NamedTuple):
    """Photos [n, 28, 28, 1] of type uint8 and their classes [n]."""

    photos: np.ndarray
    classes: np.ndarray


def files() -> list[Path]:
    """The four archives: a folder of yours, the installed package, what was kept, else downloaded by apt-get."""
    kept = fetching.cache() / "downloads" / "fashion-mnist"
    own = os.environ.get(VARIABLE)
    folders = [Path(own)] if own else [INSTALLED, kept]
    for folder in folders:
        found = [folder / f"{name}.gz" for name in SHA256]
        if all(path.is_file() for path in found):
            return found
    if own:
        sys.exit(f"{VARIABLE}={own} must name a folder with {', '.join(f'{name}.gz' for name in SHA256)}")
    _download(kept)
    return [kept / f"{name}.gz" for name in SHA256]


def load(archives: list[Path]) -> tuple[Images, Images]:
    """Training and test images; exits where a file is not the one that was pinned."""
    contents = {path.stem: gzip.decompress(path.read_bytes()) for path in archives}
    for name, content in contents.items():
        if (found := hashlib.sha256(content).hexdigest()) != SHA256[name]:
            sys.exit(f"{name}.gz unpacks to sha256 {found}, expected {SHA256[name]}; delete it and try again")
    return _images(contents, "train"), _images(contents, "t10k")


def _images(contents: dict[str, bytes], part: str) -> Images:
    # IDX format: a header of 16 bytes before images, of 8 before labels, then plain bytes.
    photos = np.frombuffer(contents[f"{part}-images-idx3-ubyte"], np.uint8, offset=16)
    classes = np.frombuffer(contents[f"{part}-labels-idx1-ubyte"], np.uint8, offset=8)
    return Images(photos.reshape(-1, 28, 28, 1), classes.astype(np.int64))


def _download(kept: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        sys.exit(
            f"Fashion-MNIST comes in the Debian package {PACKAGE}, and there is no apt-get here; put "
            f"{', '.join(f'{name}.gz' for name in SHA256)} into a folder and set {VARIABLE} to it"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as temporary:
        folder = Path(temporary)
        with fetching.BARS.step(f"Download {PACKAGE}"):
            _apt_download(folder)
            _unpack(next(folder.glob("*.deb")), folder / "files")
        shutil.rmtree(kept, ignore_errors=True)
        (folder / "files").rename(kept)


def _apt_download(folder: Path) -> None:
    """Needs no root, but for package lists where a machine has none."""
    download = ["apt-get", "-qq", "download", PACKAGE]
    if subprocess.run(download, cwd=folder, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "-qq", "update"], check=False)
    if subprocess.run(download, cwd=folder, check=False).returncode:
        sys.exit(f"apt-get could not download {PACKAGE}; run `apt-get update` as root, or install the package")


def _unpack(package: Path, folder: Path) -> None:
    """Only the four files, under names of ours."""
    folder.mkdir()
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive,
    ):
        for member in archive:
            name = Path(member.name).name
            if member.isfile() and name.removesuffix(".gz") in SHA256 and (opened := archive.extractfile(member)):
                (folder / name).write_bytes(opened.read())
