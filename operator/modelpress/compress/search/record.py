"""What becomes of a trial in the journal: what was measured, or that its bytes were tried before. Pure."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from pathlib import Path

from modelpress.api.errors import Invalid
from modelpress.api.measurement import Compared, Measurements
from modelpress.api.trial import Trial
from modelpress.compress.search.journal import Begun
from modelpress.status.gate import Finding

CRASHED = "Crashed"
_ANEW = "set the annotation modelpress.dev/reconcile-requested-at"
_KILLED = (
    "it ended its process three times while it was built or measured (memory, native code, or a kill from outside); "
    f"raise the limits of spec.jobs.resources and {_ANEW}, since limits alone begin nothing anew (locally: name "
    "another --store, or delete the artifact's folder), or leave it out by naming spec.recipe.steps"
)
_RAISED = "it ended the search three times, at last by an error that nobody foresaw"
_REPORT = "report it with the log's traceback; leave it out by naming spec.recipe.steps"


def again(empty: Trial, same: Trial) -> Trial:
    """The same bytes have the same numbers."""
    if not same.passed:
        return _numbered_as(empty, same)
    said = {"verdict": "Dominated", "message": f"the same file as trial {same.number}", "findings": 1}
    return _numbered_as(empty, same).model_copy(update=said)


def _numbered_as(empty: Trial, same: Trial) -> Trial:
    kept = ("number", "name", "recipe", "form", "parameters")
    return same.model_copy(update={name: getattr(empty, name) for name in kept})


def standing(trials: Sequence[Trial], names: Container[str]) -> list[Trial]:
    """The trials; what was put behind an earlier one as the same file stands in for it where that cannot be made again.

    `names` are those of the moves that can: a search may be resumed by a release that names, or proposes, others.
    """
    lost = {trial.digest: trial for trial in trials if trial.passed and trial.digest and trial.name not in names}
    found = []
    for trial in trials:
        may_stand_in = trial.name in names and not trial.passed
        same = lost.pop(trial.digest or "", None) if may_stand_in else None
        found.append(_numbered_as(trial, same).model_copy(update={"seconds": trial.seconds}) if same else trial)
    return found


def crashed(begun: Begun, number: int) -> Trial:
    """The trial of a move that nobody will try again."""
    return Trial(
        number=number,
        name=begun.begun,
        recipe=begun.recipe,
        form=begun.form,
        verdict=CRASHED,
        message=_KILLED if begun.error is None else f"{_RAISED}: {begun.error}; {_REPORT}",
        parameters=begun.parameters,
    )


def came_to_something(trials: Sequence[Trial]) -> bool:
    """Whether any ended otherwise than by ending its process."""
    return any(trial.verdict != CRASHED for trial in trials)


def all_crashed(trials: Sequence[Trial], work: Path) -> Invalid:
    """Why there is nothing to offer; the trials' journal is in `work`."""
    first = trials[0]
    return Invalid(
        CRASHED,
        f"nothing could be built or measured: every trial ({len(trials)}) ended its process; {first.recipe}, "
        f"{first.form}: {first.message}. Of this search, the folder is {work}",
        field="spec.jobs.resources",
    )


def told(
    empty: Trial, measured: Measurements, size: Compared, verdict: str, message: str, findings: Sequence[Finding] = ()
) -> Trial:
    """The trial with what was measured; its latency is gross, estimate and interval, where net is not known."""
    metric = measured.metrics[0] if measured.metrics else None
    excess = math.fsum(found.excess for found in findings)
    timed = measured.latency_milliseconds
    net = (timed.net or timed.gross) if timed else None
    has_net = timed is not None and timed.net is not None
    return empty.model_copy(
        update={
            "verdict": verdict,
            "message": message,
            "findings": len(findings),
            "excess": excess if math.isfinite(excess) else None,  # JSON has no infinity
            "metric": metric.value if metric else None,
            "drop": metric.drop if metric else None,
            "standard_error": metric.standard_error if metric else None,
            "size_ratio": size.ratio,
            "latency_ratio": timed.gross.ratio if timed else None,
            "latency_low": timed.ratio_low if timed else None,
            "latency_high": timed.ratio_high if timed else None,
            "net_ratio": net.ratio if net else None,
            "is_net": has_net,
            "net_low": (timed.net_ratio_low if has_net else timed.ratio_low) if timed else None,
            "net_high": (timed.net_ratio_high if has_net else timed.ratio_high) if timed else None,
        }
    )
