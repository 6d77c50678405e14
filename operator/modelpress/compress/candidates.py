"""The candidates of one artifact: steps applied once, then each servable form built, checked, and kept as a piece."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Prune
from modelpress.api.request import Request
from modelpress.compress import check, dataset, examples, graph, savedmodel, source, tflite, warmup
from modelpress.compress.check import Finding, Reference
from modelpress.compress.dataset import Array
from modelpress.compress.examples import Examples
from modelpress.compress.model import OpenedModel
from modelpress.compress.plan import Build, Plan, needs_calibration
from modelpress.compress.source import Found
from modelpress.compress.steps import fine_tune, prune
from modelpress.compress.work import Piece, WorkArea
from modelpress.telemetry.progress import Progress

STATE_FILE = "variables.npz"


@dataclass(frozen=True)
class Built:
    """One servable form, or why there is none."""

    build: Build
    piece: Piece
    finding: Finding | None
    notes: tuple[str, ...]
    repeatable: bool


class Bench:
    """Everything that building candidates of one artifact needs."""

    def __init__(
        self, request: Request, plan: Plan, found: Found, area: WorkArea, source_piece: Piece, progress: Progress
    ) -> None:
        self.request, self.plan, self.found, self.area, self.progress = request, plan, found, area, progress
        self.source_piece = source_piece
        self.names: tuple[str, ...] = source.signatures(source_piece.directory, request.source.signatures)
        self.opened = OpenedModel(source_piece.directory, self.names)
        self.examples = Examples({})
        self.reference = Reference({}, {}, repeatable=True)
        self.random: list[str] = []
        self.step_notes: tuple[str, ...] = ()

    @classmethod
    def prepared(
        cls,
        request: Request,
        plan: Plan,
        found: Found,
        data_digests: dict[str, str],
        area: WorkArea,
        progress: Progress,
    ) -> Bench:
        """Reads source and data, refuses what cannot work before anything long begins, and applies the steps."""
        source_piece = area.piece("source", lambda new: _float32(found, new, progress))
        with progress.step("Loading the model"):
            bench = cls(request, plan, found, area, source_piece, progress)
        bench.examples = examples.load(request.data, data_digests, bench.opened.signatures)
        bench._require_data()
        rows = examples.for_check(bench.examples, bench.opened.signatures, source_piece.directory)
        with progress.step("Running the source on a few rows"):
            bench.reference = check.reference(bench.opened, rows)
        bench.random = graph.random_operations(graph.joined(bench.opened))
        bench._apply_steps()
        return bench

    @property
    def deterministic(self) -> bool:
        """Whether the source answers one input always alike."""
        return self.reference.repeatable and not self.random

    def calibration(self) -> list[dict[str, Array]]:
        """Batches of as few rows as the signature takes."""
        found = self.examples.calibration()
        if found is None:
            return []
        size = examples.batch_size(self.opened.signatures[found.signature], 1)
        count = len(found.rows) // size * size
        return [found.rows.part(start, start + size).inputs for start in range(0, count, size)]

    def warmup(self) -> Piece | None:
        """Warm-up requests from the data, else those that came with the model; None without either."""
        rows = {}
        for name, signature in self.opened.signatures.items():
            found = self.examples.feeding(signature) or examples.recorded(self.source_piece.directory, signature)
            if found is not None:
                rows[name] = found
        if not rows:
            return None
        return self.area.piece(
            "warmup",
            lambda new: {"records": warmup.write(new / warmup.FILE_NAME, rows, self.opened.signatures)},
        )

    def discard(self) -> None:
        """Removes the work area, whose pieces are now parts of the artifact."""
        shutil.rmtree(self.source_piece.directory.parent, ignore_errors=True)

    def _require_data(self) -> None:
        if needs_calibration(self.plan) and self.examples.calibration() is None:
            raise Invalid(
                "DataRequired",
                "StaticInt8 measures the range of activations on examples; set spec.data.calibration (or training, "
                "evaluation), or use scheme: DynamicInt8, which needs none",
                field=f"{self.plan.quantize_field}.scheme",
            )
        for index, step in self.plan.steps:
            if not isinstance(step, Prune) and "training" not in self.examples.sets:
                raise Invalid(
                    "DataRequired",
                    "fineTune trains on examples with labels; set spec.data.training, or leave the step out",
                    field=f"spec.recipe.steps[{index}].fineTune",
                )

    def _apply_steps(self) -> None:
        if not self.plan.steps:
            return
        piece = self.area.piece("steps", self._changed_variables)
        variables = self.opened.variables()
        with np.load(piece.directory / STATE_FILE, allow_pickle=False) as state:
            for position, variable in enumerate(variables):
                variable.assign(state[str(position)])
        self.step_notes = tuple(piece.facts["notes"])

    def _changed_variables(self, new: Path) -> dict[str, Any]:
        notes: list[str] = []
        masks: dict[int, Array] = {}
        for index, step in self.plan.steps:
            at = f"spec.recipe.steps[{index}]"
            if isinstance(step, Prune):
                with self.progress.step("Pruning"):
                    pruned = prune.apply(self.opened.variables(), step, field=f"{at}.prune")
                masks |= {place: mask & masks.get(place, True) for place, mask in pruned.masks.items()}
                notes.append(pruned.note)
            else:
                training = self.examples.sets["training"]
                notes.append(
                    fine_tune.apply(
                        self.opened,
                        training.rows,
                        step,
                        self.request.recipe.training,
                        signature=training.signature,
                        masks=masks,
                        field=f"{at}.fineTune",
                        progress=self.progress,
                    )
                )
        values = {str(position): variable.numpy() for position, variable in enumerate(self.opened.variables())}
        dataset.save(new / STATE_FILE, values)
        return {"notes": notes}


def build_all(bench: Bench) -> list[Built]:
    """Every form of the plan.

    Raises Invalid where steps or a form were named and nothing can be built: `StepCannotApply`, `FormNotPossible`.
    """
    built = [_build(bench, build) for build in bench.plan.builds]
    impossible = [one.finding for one in built if one.finding is not None and one.piece.facts["stage"] == "build"]
    if bench.plan.named and len(impossible) == len(built):
        tries = "; ".join(f"{one.build.form}: {one.finding.message}" for one in built if one.finding is not None)
        only_tflite = all(one.build.form == "TFLite" for one in built)
        cure = (
            "use scheme: Float16 with format: SavedModel"
            if only_tflite
            else "export the model again without these parts"
        )
        raise Invalid(
            "StepCannotApply" if bench.plan.quantize_field else "FormNotPossible",
            f"{built[0].build.recipe} cannot be built for this model. {tries}; {cure}",
            field=f"{bench.plan.quantize_field}.scheme" if bench.plan.quantize_field else "spec.recipe.format",
        )
    return built


def _float32(found: Found, new: Path, progress: Progress) -> dict[str, Any]:
    source.write_float32(found, new, progress=progress)
    return {}


def _build(bench: Bench, build: Build) -> Built:
    piece = bench.area.piece(build.name, lambda new: _facts(bench, build, new))
    facts = piece.facts
    finding = Finding(facts["reason"], facts["message"]) if facts["reason"] else None
    return Built(build, piece, finding, (*bench.step_notes, *facts["notes"]), facts["repeatable"])


def _facts(bench: Bench, build: Build, new: Path) -> dict[str, Any]:
    """Builds and checks; what is refused leaves an empty directory and a reason."""
    stage = "build"
    notes: tuple[str, ...] = ()
    with bench.progress.step(f"Building {build.form}: {build.recipe}"):
        try:
            notes = _write(bench, build, new)
            stage = "check"
            finding, repeatable = check.refusal(new, build.form, bench.reference, bench.names)
        except tflite.NotConvertible as error:
            finding, repeatable = Finding(error.reason, str(error)), True
        except graph.NotFreezable as error:
            finding, repeatable = Finding("NotFreezable", str(error)), True
    if finding is not None:
        _emptied(new)
        bench.progress.say(f"Refused {build.form}, {build.recipe}: {finding.reason}, {finding.message}")
    return {
        "stage": stage,
        "reason": finding.reason if finding else None,
        "message": finding.message if finding else None,
        "notes": list(notes),
        "repeatable": repeatable,
    }


def _emptied(directory: Path) -> None:
    for left in directory.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _write(bench: Bench, build: Build, new: Path) -> tuple[str, ...]:
    if build.form == "TFLite":
        calibration = bench.calibration() if build.weights == "StaticInt8" else ()
        content = tflite.convert(bench.opened, build.weights, per_channel=build.per_channel, calibration=calibration)
        tflite.write(content, new)
        return ()
    return savedmodel.write(graph.freeze(bench.opened), new, half=build.weights == "Float16")
