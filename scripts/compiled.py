"""The package as its wheel installs it, with the sidecar's hot path compiled: prints the folder that holds it.

    python scripts/compiled.py [--wheel FOLDER]

It is built once for each content of the sidecar, below MODELPRESS_CACHE. A compiler is needed only here: who installs
the wheel needs none, and who installs from source without one gets the same modules as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import debian

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("operator", "pyproject.toml", "README.md", "LICENSE")
PARTS = (*(f"operator/modelpress/{room}" for room in ("api", "cli", "sidecar")), "pyproject.toml")
"""What the sidecar is made of."""


def main() -> None:
    """Builds what is not there, and prints where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="write the wheel to this folder instead")
    arguments = parser.parse_args()
    if arguments.wheel is not None:
        print(built(arguments.wheel))
        return
    print(package())


def package() -> Path:
    """The folder to put on PYTHONPATH."""
    cache = Path(os.environ.get("MODELPRESS_CACHE", Path.home() / ".cache" / "modelpress"))
    folder = cache / "compiled" / _digest()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            unpacked = Path(scratch) / "package"
            with zipfile.ZipFile(built(Path(scratch))) as wheel:
                wheel.extractall(unpacked)
            try:
                unpacked.rename(folder)
            except OSError:  # somebody else was quicker
                if not folder.exists():
                    raise
    return folder


def built(folder: Path) -> Path:
    """A wheel in `folder`. It is built of a copy, so that nothing is left between the sources."""
    _provide_compiler()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in SOURCES:
            source, target = ROOT / name, Path(scratch) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
        command += ["--no-build-isolation", "--no-deps", "--wheel-dir", str(folder.resolve()), "."]
        environment = {**os.environ, "HATCH_BUILD_HOOKS_ENABLE": "1"}
        done = subprocess.run(command, cwd=scratch, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit("the wheel could not be built; what is above says why")
    return max(folder.glob("modelpress-*.whl"), key=lambda wheel: wheel.stat().st_mtime)


def _digest() -> str:
    told = hashlib.sha256(sys.version.encode())
    for name in PARTS:
        source = ROOT / name
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file() and "__pycache__" not in file.parts:
                told.update(f"{file.relative_to(ROOT)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return told.hexdigest()[:16]


def _provide_compiler() -> None:
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    packages = [] if shutil.which("cc") or shutil.which("gcc") else ["gcc", "libc6-dev"]
    if not headers.exists():
        packages.append(f"python{sys.version_info.major}.{sys.version_info.minor}-dev")
    debian.provide(packages, needed_by="the compiled wheel")


if __name__ == "__main__":
    main()
