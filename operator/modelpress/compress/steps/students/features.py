"""Inner layers of a student that should give what layers of the teacher give, through a learned adaptor if need be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from modelpress.api.errors import Invalid
from modelpress.api.recipe import FeaturePair
from modelpress.compress.steps.students import softened


class Pair(NamedTuple):
    """Two layers that should agree."""

    name: str
    """Under which both are tapped."""
    teacher: str
    """Node of the teacher."""
    student: str
    """Node of the student."""


class Matching:
    """The distance of all pairs, with the adaptors that are trained along and then thrown away."""

    def __init__(self, pairs: Sequence[Pair], shapes: Sequence[tuple[Any, Any]], *, seed: int, field: str) -> None:
        """`shapes`: static shapes of teacher's and student's tensors. Raises Invalid `StepCannotApply`."""
        self._names = [pair.name for pair in pairs]
        self._adaptors: dict[str, Any] = {}
        for index, (pair, (wanted, given)) in enumerate(zip(pairs, shapes, strict=True)):
            _require_alike(pair, wanted, given, f"{field}.features[{index}]")
            if wanted[-1] != given[-1]:
                initial = tf.random.stateless_normal((given[-1], wanted[-1]), (seed, index)) / given[-1] ** 0.5
                self._adaptors[pair.name] = tf.Variable(initial, name=f"adaptor_{index}")

    @property
    def variables(self) -> list[Any]:
        """The adaptors' weights, in order of the pairs."""
        return list(self._adaptors.values())

    def distance(self, teacher: dict[str, Any], student: dict[str, Any]) -> Any:
        """Mean over the pairs (FitNets, Romero et al. 2015: the student's features through a linear map). Traced."""
        found = []
        for name in self._names:
            given = student[name]
            if name in self._adaptors:
                given = tf.tensordot(given, self._adaptors[name], 1)
            found.append(softened.of_features(teacher[name], given))
        return tf.add_n(found) / len(found)


def pairs(wanted: Sequence[FeaturePair]) -> list[str]:
    """Names under which the layers of each pair are tapped."""
    return [f"feature {index}" for index in range(len(wanted))]


def _require_alike(pair: Pair, wanted: Any, given: Any, field: str) -> None:
    known = wanted is not None and given is not None and len(wanted) == len(given) and len(wanted) > 1
    widths = known and wanted[-1] is not None and given[-1] is not None
    same = widths and all(None in both or both[0] == both[1] for both in zip(wanted[:-1], given[:-1], strict=True))
    if not same:
        raise Invalid(
            "StepCannotApply",
            f"{pair.teacher} of the teacher gives {list(wanted or [])}, {pair.student} of the student "
            f"{list(given or [])}; all sizes but the last have to be equal: choose layers of one resolution",
            field=field,
        )
