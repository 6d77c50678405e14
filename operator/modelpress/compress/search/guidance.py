"""The guided part of a search: a tree-structured Parzen estimator (Bergstra et al. 2011) over recipes, by Optuna.

It is asked for one move after the other and told what each was worth; its memory is the journal, so that a resumed
search asks what an undisturbed one would have asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution

from modelpress.api.recipe import Search
from modelpress.api.trial import Trial
from modelpress.compress.search import front, space
from modelpress.compress.search.journal import Journal
from modelpress.compress.search.move import Move

if TYPE_CHECKING:
    from modelpress.compress.bench import Bench

PATIENCE = 6
"""Guided trials in a row without a better one: then hope is over."""
REPEATED = 30
"""Proposals in a row that were tried already: then the space is used up."""
FIRST = 4
"""Guided moves at random, before the estimator has something to go by."""


class Guide:
    """Proposes moves until nothing new or better is to be expected."""

    def __init__(self, bench: Bench, search: Search, journal: Journal) -> None:
        self._journal, self._objective = journal, search.objective
        self._space = space.of(bench, [one for one in journal.trials if not one.parameters], search.objective)
        self._seed = bench.request.recipe.training.seed
        self.moves: dict[str, Move] = {}
        """All that were proposed, those of an earlier run included, by name."""
        for trial in self._guided():
            move = self._space.move(trial.parameters)
            if move is not None:
                self.moves[move.name] = move

    def next(self, count: int = 1) -> list[Move]:
        """The next moves, at most `count`; none where the search should end."""
        if not self._space.distributions:
            return []
        found: list[Move] = []
        while len(found) < count and (move := self._first(found) or self._other(found)) is not None:
            self.moves[move.name] = move
            found.append(move)
        return found

    def _first(self, pending: Sequence[Move]) -> Move | None:
        """One of those to begin with that was not tried and is not pending; all of them are tried."""
        for point in self._space.starts(self._journal.trials):
            move = self._space.move(point)
            if move is not None and move not in pending and self._journal.named(move.name) is None:
                return move
        return None

    def _other(self, pending: Sequence[Move]) -> Move | None:
        """What the estimator proposes: not tried and not pending; None where nothing better is to be expected."""
        if self._is_hopeless():
            return None
        study = self._study(len(pending))
        scores = front.scores(self._journal.trials, self._objective)
        for _ in range(REPEATED):
            asked = study.ask(self._space.distributions)
            hopeless = self._space.is_hopeless(asked.params, self._journal.trials)
            move = None if hopeless else self._space.move(asked.params)
            if move is not None and move not in pending and self._journal.named(move.name) is None:
                return move
            known = self._journal.named(move.name) if move is not None else None
            study.tell(asked, scores[known.number] if known else 100.0)
        return None

    def _guided(self) -> list[Trial]:
        return [trial for trial in self._journal.trials if trial.parameters]

    def _is_hopeless(self) -> bool:
        guided = self._guided()
        if len(guided) < PATIENCE:
            return False
        earlier = [trial for trial in self._journal.trials if trial not in guided[-PATIENCE:]]
        best = front.best(self._journal.trials, self._objective)
        return best in earlier if best is not None else len(guided) >= 2 * PATIENCE

    def _study(self, pending: int) -> optuna.Study:
        """A study that knows the journal; its seed follows from how much that is."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        guided = self._guided()
        sampler = optuna.samplers.TPESampler(seed=self._seed + len(guided) + pending, n_startup_trials=FIRST)
        study = optuna.create_study(sampler=sampler)
        scores = front.scores(self._journal.trials, self._objective)
        for trial in self._journal.trials:
            params = trial.parameters or self._space.parameters(trial.name)
            if params is not None and _fits(params, self._space.distributions):
                study.add_trial(
                    optuna.trial.create_trial(
                        params=params,
                        distributions=self._space.distributions,
                        value=scores[trial.number],
                    )
                )
        return study


def _fits(params: dict[str, Any], distributions: dict[str, BaseDistribution]) -> bool:
    return params.keys() == distributions.keys() and all(
        kind._contains(kind.to_internal_repr(params[name])) for name, kind in distributions.items()
    )
