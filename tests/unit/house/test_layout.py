"""The house stands as the design says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

WITHOUT_TENSORFLOW = {
    "operator": ["cli.operator", "handlers", "reconcile", "kube", "manifests", "status", "runtime", "api", "telemetry"],
    "sidecar": ["cli.sidecar", "cli.compress", "sidecar", "storage"],
}


def modules_below(package: str) -> list[str]:
    folder = ROOT / "operator" / Path(*package.split("."))
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    names = [".".join(file.relative_to(ROOT / "operator").with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names]


def test_operator_holds_only_package_folders_because_loose_files_would_shadow_the_standard_library():
    loose = [
        entry.name for entry in (ROOT / "operator").iterdir() if entry.name != "__pycache__" and not entry.is_dir()
    ]
    assert loose == []
    assert [entry.name for entry in (ROOT / "operator").iterdir() if (entry / "__init__.py").exists()] == ["modelpress"]


@pytest.mark.parametrize("part", WITHOUT_TENSORFLOW)
def test_operator_and_sidecar_start_without_tensorflow(part):
    names = [name for package in WITHOUT_TENSORFLOW[part] for name in modules_below(f"modelpress.{package}")]
    program = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, check=True).stdout
    assert "modelpress.api.resource" in loaded.split()
    assert "tensorflow" not in loaded.split()


def test_no_registry_host_is_named_in_the_tree():
    hosts = ["".join(parts) for parts in (("py", "pi.org"), ("pythonhosted", ".org"), ("proxy.golang", ".org"))]
    hosts += ["".join(parts) for parts in (("registry.npm", "js.org"), ("deb.debian", ".org"))]
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    named = [
        f"{name}: {host}"
        for name in listed.split("\0")
        if name and (ROOT / name).is_file()
        for host in hosts
        if host.encode() in (ROOT / name).read_bytes()
    ]
    assert named == []
