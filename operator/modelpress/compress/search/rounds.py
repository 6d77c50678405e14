"""The search itself: the ladder, then guided moves, until trials, time or hope run out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

from modelpress.api import duration
from modelpress.api.artifact import Refused
from modelpress.api.errors import Invalid
from modelpress.api.recipe import Search
from modelpress.compress import candidates
from modelpress.compress.bench import Bench
from modelpress.compress.candidates import Outcome
from modelpress.compress.limited import OutOfTime
from modelpress.compress.plan import Build
from modelpress.compress.search import crew, front, guidance, holding, ladder
from modelpress.compress.search.crew import Crew
from modelpress.compress.search.examination import Examination
from modelpress.compress.search.journal import Journal
from modelpress.compress.search.move import Move

JOURNAL = "trials.jsonl"
Clock = Callable[[], float]
"""Seconds from some fixed time."""


class Budget:
    """Trials and seconds; those of killed runs count."""

    def __init__(self, search: Search, journal: Journal, clock: Clock) -> None:
        self._trials, self._journal, self._clock = search.trials, journal, clock
        self._until = clock() + duration.seconds(search.timeout) - journal.seconds

    def is_spent(self) -> bool:
        """Whether no further trial may begin."""
        return not self.has_trials or self.is_over()

    @property
    def has_trials(self) -> bool:
        """Whether their number allows for another."""
        return len(self._journal.trials) < self._trials

    def is_over(self) -> bool:
        """Whether time is up, for the trial under way as well."""
        return self.seconds <= 0

    @property
    def seconds(self) -> float:
        """That are left."""
        return self._until - self._clock()


def search(bench: Bench, wanted: Search, *, clock: Clock) -> Outcome:
    """Looks for the best recipe under the request's gate. What was tried before a kill is not tried again.

    Raises Invalid `FormNotPossible`.
    """
    journal = Journal(bench.area.directory / JOURNAL, bench.area)
    budget = Budget(wanted, journal, clock)
    impossible: tuple[Refused, ...] = ()
    with contextlib.suppress(OutOfTime), bench.progress.until(budget.is_over):
        bench, impossible = holding.narrowed(bench)
    has_calibration = bench.examples.calibration() is not None
    recipe, device = bench.request.recipe, bench.request.target.device
    hands = crew.processes(bench.request.target)
    with Examination(bench) as examination, crew.crew(bench, hands) as builders:
        rungs = ladder.moves(recipe, device, has_calibration=has_calibration)
        moves = {move.name: move for move in rungs}
        with contextlib.suppress(OutOfTime), bench.progress.until(budget.is_over):
            _all(bench, examination, journal, rungs, budget, builders)
            climbed = [trial for trial in journal.trials if trial.name in moves]
            layered = ladder.refined(
                recipe, device, has_calibration=has_calibration, trials=climbed, objective=wanted.objective
            )
            moves |= {move.name: move for move in layered}
            _all(bench, examination, journal, layered, budget, builders)
            stricter = ladder.stricter(layered, journal.trials)
            moves |= {move.name: move for move in stricter}
            _all(bench, examination, journal, stricter, budget, builders)
        if not budget.is_spent() or any(trial.parameters for trial in journal.trials):
            # Also when time is up: it knows what the guided moves of a killed run were.
            guide = guidance.Guide(bench, wanted, journal)
            with contextlib.suppress(OutOfTime), bench.progress.until(budget.is_over):
                while not budget.is_spent() and (proposed := guide.next(builders.count)):
                    _all(bench, examination, journal, proposed, budget, builders)
            moves |= guide.moves
        found = _outcome(bench, examination, journal, moves, wanted.objective)
    return dataclasses.replace(found, refused=(*impossible, *found.refused))


def iterated(bench: Bench) -> Outcome:
    """Every form after each iteration of the named steps, tried and ranked.

    Raises Invalid where no form can be built after the first.
    """
    _build_first(bench)
    moves = _iterations(bench)
    journal = Journal(bench.area.directory / JOURNAL, bench.area)
    with Examination(bench) as examination:
        for move in moves:
            if journal.named(move.name) is None:
                _try(bench, examination, journal, move)
        return _outcome(bench, examination, journal, {move.name: move for move in moves}, "Latency")


def _build_first(bench: Bench) -> None:
    """The first iteration; what is refused for too small a share is told to be a part of the step's."""
    try:
        candidates.build_all(bench)
    except Invalid as error:
        if not (error.field or "").endswith(".prune.sparsity"):
            raise
        count = bench.plan.iterations
        message = f"{error.message}; this is iteration 1 of {count}, which removes 1/{count} of it: lower iterations"
        raise Invalid(error.reason, message, field=error.field) from error


def _iterations(bench: Bench) -> list[Move]:
    """Every build after each iteration of the named steps."""

    def build(one: Build, count: int) -> Move:
        recipe = f"{count} of {bench.plan.iterations} x ({one.recipe})"
        return Move(bench.plan.repeated(count), dataclasses.replace(one, recipe=recipe), iteration=count)

    return [build(one, count) for count in range(1, bench.plan.iterations + 1) for one in bench.plan.builds]


def _all(
    bench: Bench,
    examination: Examination,
    journal: Journal,
    proposed: Sequence[Move],
    budget: Budget,
    builders: Crew,
) -> None:
    """Tries what was not tried yet: as many as there are hands are built at once, then measured in turn."""
    new = [move for move in proposed if journal.named(move.name) is None]
    for start in range(0, len(new), builders.count):
        if budget.is_spent():
            return
        builders.build(new[start : start + builders.count], seconds=budget.seconds)
        for move in new[start : start + builders.count]:
            if budget.has_trials:
                _try(bench, examination, journal, move)


def _try(bench: Bench, examination: Examination, journal: Journal, move: Move) -> None:
    trial = examination.tried(move, len(journal.trials) + 1, journal.trials)
    journal.append(trial)
    bench.progress.say(f"Trial {trial.number}: {trial.recipe}, {trial.form}: {trial.verdict}, {trial.message}")


def _outcome(
    bench: Bench, examination: Examination, journal: Journal, moves: dict[str, Move], objective: str
) -> Outcome:
    kept = [trial for trial in front.offered(journal.trials, objective) if trial.name in moves]
    built = tuple(examination.built(moves[trial.name]) for trial in kept)
    trials = front.marked(journal.trials, kept)
    bench.progress.say(front.summary(trials))
    refused = tuple(
        Refused(recipe=trial.recipe, form=trial.form, reason=trial.verdict, message=trial.message)
        for trial in trials
        if trial.metric is None
    )
    return Outcome(built, trials, refused)
