"""What is too far behind the best so far in the engine's own process to be measured through servers. Pure.

Only times that one process took are compared: another's machine, or load, was another.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelpress.api.artifact import Form
from modelpress.api.trial import Trial
from modelpress.status.gate import Finding

SLOWER = 1.4
"""Against the best so far of the same form: beyond it no server would turn the order round."""


def finding(
    trials: Iterable[Trial], form: Form, milliseconds: float, size_ratio: float, *, objective: str
) -> Finding | None:
    """`Dominated`; None where servers have to tell: with the objective Metric always, as floats lose least.

    Forms are not compared: in this process a TFLite model has one thread and a SavedModel all of them.
    """
    known = _fastest(trials, form)
    if objective == "Metric" or known is None or milliseconds < SLOWER * known[0] or size_ratio < known[1]:
        return None
    return Finding(
        "Dominated",
        f"{milliseconds / known[0]:.1f} x as slow as the best {form} so far in this process, and no smaller: "
        "not measured",
        excess=0.0,
    )


def _fastest(trials: Iterable[Trial], form: Form) -> tuple[float, float] | None:
    """Milliseconds and size of the fastest that passed; 0 ms say that nobody knows. Of equals the first."""
    known = (
        (trial.process_milliseconds, trial.size_ratio)
        for trial in trials
        if trial.passed and trial.form == form and trial.process_milliseconds and trial.size_ratio is not None
    )
    return min(known, key=lambda one: one[0], default=None)
