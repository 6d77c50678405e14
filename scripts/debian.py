"""Debian packages of programs that are missing: installed where that is possible, else asked for by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence


def provide(packages: Sequence[str], *, needed_by: str) -> None:
    """Installs them, with lists of packages fetched anew only where those at hand do not do.

    Exits with a sentence that begins with `needed_by` where this is not root, or not Debian.
    """
    if not packages:
        return
    if os.geteuid() or shutil.which("apt-get") is None:
        sys.exit(f"{needed_by} needs {', '.join(packages)} (Debian packages); install them first")
    if _apt_get("install", *packages):
        for words in (("update",), ("install", *packages)):
            if _apt_get(*words):
                sys.exit(f"{needed_by} needs {', '.join(packages)}, and apt-get {words[0]} failed; see above")


def _apt_get(*words: str) -> int:
    """Its exit status; what it says goes to standard error. It waits where another apt-get is at work."""
    options = ["-o", "DPkg::Lock::Timeout=120", "--yes", "--quiet"]
    options += ["--no-install-recommends"] if words[0] == "install" else []
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(["apt-get", *options, *words], env=environment, stdout=sys.stderr, check=False).returncode
