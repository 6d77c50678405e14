"""One move tried: built, looked at in this process, and, where it may be the best, measured through model servers."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from modelpress.api.errors import Invalid, Transient
from modelpress.api.measurement import Compared, Measurements
from modelpress.api.recipe import Search
from modelpress.api.trial import Trial
from modelpress.compress import check, plan
from modelpress.compress import examples as data
from modelpress.compress.bench import Bench
from modelpress.compress.candidates import Built
from modelpress.compress.check import Finding
from modelpress.compress.evaluation import evaluate, metrics
from modelpress.compress.evaluation import examples as evaluation_examples
from modelpress.compress.evaluation.client import Client
from modelpress.compress.evaluation.comparison import Answers
from modelpress.compress.evaluation.endpoint import DoesNotLoad
from modelpress.compress.limited import OutOfTime
from modelpress.compress.local import likeness, measuring
from modelpress.compress.local.processes import ModelServer
from modelpress.compress.local.servers import Servers
from modelpress.compress.search import certainty, domination, glance, record, writer
from modelpress.compress.search.glance import Glance
from modelpress.compress.search.move import Move
from modelpress.server import launch
from modelpress.status import gate
from modelpress.storage import listing, transfer

log = logging.getLogger(__name__)

SECONDS = 1.5
"""Of requests to each server for a trial's latency; what is offered is measured again, for longer."""


class Examination:
    """A context manager: the source's server runs from the first trial that is measured to the end."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._stack = bench, contextlib.ExitStack()
        self._chosen, called = _measured_on(bench)
        self._signature = bench.opened.signatures[called]
        self._directory = bench.area.scratch("serving")
        _removed(self._directory)
        self._servers = Servers(bench.request.name, bench.request.target, self._signature, self._directory)
        self._source: ModelServer | None = None
        self._glanced, self._answers = Answers(), Answers()
        self._wanted = bench.plan.search or Search()
        self._stand_in = likeness.stand_in(launch.description())
        self._timed: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def samples(self) -> int:
        """Rows that the metrics are measured on."""
        return len(self._chosen.rows)

    def tried(self, move: Move, number: int, earlier: Sequence[Trial], *, note_built: Callable[[], None]) -> Trial:
        """Build and judge a move; what is wrong with it is its verdict. What equals an earlier one is that again.

        `note_built` is called between the two.
        """
        began = time.monotonic()
        empty = Trial(
            number=number,
            name=move.name,
            recipe=move.build.recipe,
            form=move.build.form,
            verdict="",
            message="",
            parameters=move.parameters,
        )
        try:
            trial = self._tried(move, empty, earlier, note_built)
        except OutOfTime:
            cut = self._cut()
            trial = empty.model_copy(update={"verdict": cut.reason, "message": cut.message})
        return trial.model_copy(update={"seconds": round(time.monotonic() - began, 2)})

    def built(self, move: Move) -> Built:
        """The servable of a move, made unless it is there. Raises Invalid where a step refuses the model."""
        with writer.alone(self._bench, move):
            return writer.made(self._bench, move)

    def _cut(self) -> Finding:
        return Finding(
            "OutOfTime",
            f"cut off when the {self._wanted.timeout} of spec.recipe.search.timeout were over; raise it to see its end",
        )

    def _tried(self, move: Move, empty: Trial, earlier: Sequence[Trial], note_built: Callable[[], None]) -> Trial:
        try:
            built = self.built(move)
        except Transient:
            raise
        except Invalid as error:
            return empty.model_copy(update={"verdict": error.reason, "message": error.message})
        except Exception as error:  # converters raise whatever their passes raise; one move must not end the search
            log.exception("%s, %s could not be built", move.build.recipe, move.build.form)
            failed = Finding("BuildFailed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            return empty.model_copy(update={"verdict": failed.reason, "message": failed.message})
        note_built()
        if built.finding is not None:
            return empty.model_copy(update={"verdict": built.finding.reason, "message": built.finding.message})
        same = next((one for one in earlier if one.digest == built.piece.digest), None)
        if same is not None:
            return record.again(empty, same)
        empty = empty.model_copy(update={"digest": built.piece.digest})
        size = self._size(built)
        call = check.loaded(built.piece.directory, move.build.form, self._bench.names)
        seen = glance.of(self._bench, self._signature, self._chosen, call, self._glanced)
        empty = empty.model_copy(update={"process_milliseconds": round(seen.milliseconds, 4)})
        spared = self._spared(move, seen, size, [one for one in earlier if one.name in self._timed])
        self._timed.add(empty.name)
        if spared:
            said = "; ".join(found.message for found in spared)
            return record.told(empty, seen.measurements, size, spared[0].reason, said, spared)
        measured = self._measured(built, move).model_copy(update={"size_bytes": size})
        verdict = gate.judge(measured, self._bench.request.gate, samples=self.samples, stand_in=self._stand_in)
        return record.told(empty, measured, size, verdict.reason, verdict.message, verdict.findings)

    def _size(self, built: Built) -> Compared:
        before, after = (listing.served_bytes(piece.files) for piece in (self._bench.source_piece, built.piece))
        return Compared(source=before, value=after, ratio=after / before)

    def _spared(self, move: Move, seen: Glance, size: Compared, timed: Sequence[Trial]) -> list[gate.Finding]:
        """Why servers need not be started: the metric is clearly lost, or another that was timed here is better."""
        rows = min(glance.ROWS, self.samples)
        known = seen.measurements.model_copy(update={"size_bytes": size})
        lost = certainty.lost(known, self._bench.request.gate, rows=rows, samples=self.samples)
        if lost:
            return [
                one._replace(message=one.message + ("" if one.reason == "TooLarge" else f" ({rows} rows)"))
                for one in lost
            ]
        dominated = domination.finding(
            timed, move.build.form, seen.milliseconds, size.ratio, objective=self._wanted.objective
        )
        return [dominated] if dominated is not None else []

    def _measured(self, built: Built, move: Move) -> Measurements:
        base = self._directory / "candidate"
        transfer.link(built.piece.directory, built.piece.files, base / "1")
        try:
            with self._servers.of(base, move.build.form, "candidate") as server:
                source = self._started_source()
                try:
                    server.await_model()
                except DoesNotLoad as error:
                    return Measurements(failure="DoesNotLoad", failure_message=str(error))
                with (
                    Client(source.endpoint, self._signature.name) as before,
                    Client(server.endpoint, self._signature.name) as after,
                ):
                    return evaluate.measured(
                        self._bench.request,
                        self._chosen,
                        self._signature,
                        (source.endpoint, before),
                        (server.endpoint, after),
                        self._answers,
                        self._bench.progress,
                        seconds=SECONDS,
                    )
        finally:
            _removed(base)

    def _started_source(self) -> ModelServer:
        if self._source is None:
            piece, base = self._bench.source_piece, self._directory / "source"
            transfer.link(piece.directory, piece.files, base / "1")
            self._stack.callback(_removed, base)
            source = self._stack.enter_context(self._servers.of(base, "SavedModel", "source"))
            try:
                source.await_model()
            except DoesNotLoad as error:
                raise measuring.source_does_not_load(error) from error
            self._source = source
        return self._source


def _removed(base: Path) -> None:
    shutil.rmtree(base, ignore_errors=True)


def _measured_on(bench: Bench) -> tuple[evaluation_examples.Examples, str]:
    """Rows that nothing was calibrated on, and the signature they feed."""
    found = bench.examples.sets.get("evaluation")
    if found is not None:
        own = {"calibration", "training"} & bench.examples.sets.keys()
        kept = 0 if own or not plan.looks_at_rows(bench.plan) else data.reserved_rows(len(found.rows))
        labelled = any(metrics.is_labelled(metric) for metric in bench.request.gate.metrics)
        return evaluation_examples.Examples(found.rows.part(kept), "Labelled" if labelled else "Unlabelled"), (
            found.signature
        )
    name = evaluate.default_signature(bench.names)
    signature = bench.opened.signatures[name]
    rows = data.recorded(bench.source_piece.directory, signature) or bench.examples.feeding(signature)
    if rows is not None:
        return evaluation_examples.Examples(rows, "WarmupRequests"), name
    return evaluation_examples.Examples(evaluation_examples.synthetic(signature), "Synthetic"), name
