"""The conditions of a model, drafted from its stage and from what its pods do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelpress.api.status import Condition, Revision
from modelpress.reconcile.facts import Facts
from modelpress.reconcile.progress import GATE_FAILED, NO_CANDIDATE, Progress
from modelpress.reconcile.world import World
from modelpress.status import cache_effect, revision
from modelpress.status.conditions import Draft, State
from modelpress.status.gate import Finding

Part = Draft | Condition
PENDING = "Pending"
DIGEST_SHOWN = 19
"""`sha256:` and twelve digits."""


def of(facts: Facts, progress: Progress, world: World, current: Revision | None) -> list[Part]:
    """All conditions; `current` is the revision that serves from now on."""
    return [
        *_summary(facts, progress, world, current),
        _available(world),
        _source(facts, progress),
        _compressed(facts, progress),
        _gate(facts, progress),
        _cache(facts, progress),
        _autoscaler(facts, world),
    ]


# -- Ready, Reconciling, Stalled


def _summary(facts: Facts, progress: Progress, world: World, current: Revision | None) -> Iterator[Part]:
    if world.obstacle is not None:
        yield from _stalled(world.obstacle, world, current)
    elif progress.stage == "Passed":
        yield from _rollout(facts, progress, world, current)
    elif progress.is_final:
        finding = Finding(progress.reason, progress.message)
        yield from _stalled(finding, world, current, number=_number(progress))
    else:
        told = f"{progress.message}. {_serving(current, world)}"
        yield Draft("Ready", "False", progress.reason, told)
        if progress.stage != "Suspended":
            yield Draft("Reconciling", "True", progress.reason, progress.message)


def _number(progress: Progress) -> int | None:
    return progress.revision.revision if progress.stage != "Refused" and progress.revision else None


def _stalled(finding: Finding, world: World, current: Revision | None, number: int | None = None) -> Iterator[Part]:
    prefix = f"Revision {number} was not rolled out: " if number else ""
    told = f"{prefix}{finding.message.rstrip('.')}. {_serving(current, world)}"
    yield Draft("Ready", "False", finding.reason, told)
    yield Draft("Stalled", "True", finding.reason, finding.message)


def _rollout(facts: Facts, progress: Progress, world: World, current: Revision | None) -> Iterator[Part]:
    rolled, number = world.rollout, (progress.revision and progress.revision.revision) or 0
    trouble = f": {rolled.trouble}" if rolled.trouble else ""
    if rolled.state == "Stopped":
        yield Draft("Ready", "True", "Stopped", f"Revision {number} is stopped: spec.serving.replicas is 0.")
    elif rolled.state == "Complete":
        yield _ready(progress, number)
    elif rolled.state == "Overdue":
        deadline = facts.model.spec.rollout.progress_deadline
        message = f"Revision {number} did not become ready within {deadline}{trouble}"
        yield from _stalled(Finding("ProgressDeadlineExceeded", message), world, current)
    else:
        message = f"Revision {number} is being rolled out{trouble}"
        yield Draft("Ready", "False", "RollingOut", f"{message}. {_serving(current, world)}")
        yield Draft("Reconciling", "True", "RollingOut", message)


def _ready(progress: Progress, number: int) -> Draft:
    if progress.revision and revision.is_source(progress.revision):
        return Draft("Ready", "True", "ServingSource", f"The source serves as revision {number}: {progress.message}.")
    return Draft("Ready", "True", "Serving", f"Revision {number} serves.")


def _serving(current: Revision | None, world: World) -> str:
    if current is None or world.rollout.state == "Missing":
        return "Nothing serves."
    return f"Revision {current.revision} serves." if world.rollout.ready else "No pod is ready."


def _available(world: World) -> Draft:
    rolled = world.rollout
    if rolled.ready:
        return Draft("Available", "True", "PodsReady", f"{rolled.ready} of {rolled.wanted} pods are ready.")
    if rolled.state == "Stopped":
        return Draft("Available", "False", "Stopped", "spec.serving.replicas is 0.")
    if rolled.state == "Missing":
        return Draft("Available", "False", "NothingServes", "No revision has been rolled out yet.")
    trouble = f": {rolled.trouble}" if rolled.trouble else ""
    return Draft("Available", "False", "NoPodReady", f"0 of {rolled.wanted} pods are ready{trouble}.")


# -- the way of the model


def _kept(facts: Facts, type_: str) -> Part:
    return facts.condition(type_) or Draft(type_, "Unknown", PENDING, "Not known yet.")


def _source(facts: Facts, progress: Progress) -> Part:
    message = progress.compress
    if message is not None and message.outcome == "Done":
        digest = f", {message.source_digest[:DIGEST_SHOWN]}" if message.source_digest else ""
        told = f"{message.source_uri or facts.model.spec.source.uri} ({message.source_format or 'model'}{digest})."
        return Draft("SourceResolved", "True", "Resolved", told)
    if progress.stage == "Failed" and message is not None and (message.field or "").startswith("spec.source"):
        return Draft("SourceResolved", "False", progress.reason, progress.message)
    if progress.stage in ("Passed", "GivenUp"):
        return _carried_on(facts, "SourceResolved", "Resolved", f"{facts.model.spec.source.uri}.")
    if progress.stage in ("Compressing", "Failed"):
        return Draft("SourceResolved", "Unknown", PENDING, f"{facts.model.spec.source.uri} has not been read yet.")
    return _kept(facts, "SourceResolved")


def _compressed(facts: Facts, progress: Progress) -> Part:
    message = progress.compress
    if message is not None and message.outcome == "Done":
        recipes = "; ".join(f"{one.index}: {one.recipe} ({one.form})" for one in message.candidates or ())
        count = len(message.candidates or ())
        told = f"{count} candidate{'' if count == 1 else 's'}: {recipes}." if count else "No candidate."
        warnings = dict.fromkeys(warning for one in message.candidates or () for warning in one.warnings)
        return Draft("Compressed", "True", "Compressed", _warned(told, warnings))
    if progress.stage == "Compressing":
        return Draft("Compressed", "Unknown", "Compressing", f"{progress.message}.")
    if progress.stage == "Failed":
        return Draft("Compressed", "False", progress.reason, progress.message)
    if progress.stage in ("Passed", "GivenUp") and progress.revision:
        return _carried_on(facts, "Compressed", "Compressed", f"{progress.revision.recipe}.")
    return _kept(facts, "Compressed")


def _gate(facts: Facts, progress: Progress) -> Part:
    if progress.verdict is not None:
        if progress.verdict.passed:
            told = _warned(progress.verdict.message, progress.verdict.warnings)
            return Draft("GatePassed", "True", "Passed", told)
        reason = NO_CANDIDATE if progress.verdict.reason == NO_CANDIDATE else GATE_FAILED
        message = progress.message if progress.reason == reason else progress.verdict.message
        return Draft("GatePassed", "False", reason, _warned(message, progress.verdict.warnings))
    if progress.stage in ("Passed", "GivenUp") and progress.revision:
        if revision.is_source(progress.revision):
            return _kept(facts, "GatePassed")
        if progress.stage == "GivenUp":
            return _carried_on(facts, "GatePassed", "Passed", "Every limit holds.")
        return Draft("GatePassed", "True", "Passed", progress.message)
    if progress.stage == "Failed" and progress.compress is not None and progress.compress.outcome == "Done":
        return Draft("GatePassed", "False", progress.reason, progress.message)
    if progress.stage in ("Compressing", "Evaluating", "Failed"):
        reason = progress.reason if progress.stage == "Evaluating" else PENDING
        return Draft("GatePassed", "Unknown", reason, "Nothing has been measured yet.")
    return _kept(facts, "GatePassed")


def _warned(message: str, warnings: Iterable[str]) -> str:
    said = [f"Warning: {warning}." for warning in warnings]
    return " ".join([f"{message.rstrip('.')}.", *said]) if said else message


def _carried_on(facts: Facts, type_: str, reason: str, otherwise: str) -> Draft:
    """True for this generation too; the sentence is that of the time when it was found out."""
    known = facts.condition(type_)
    return Draft(type_, "True", reason, known.message if known and known.status == "True" else otherwise)


# -- informative


def _cache(facts: Facts, progress: Progress) -> Part:
    """That a model is not deterministic comes first: this condition is all that remembers it."""
    mode = facts.model.spec.cache.mode
    if progress.served is not None and not progress.served.deterministic:
        told = "The model gives different answers to one input, so nothing is answered from the cache."
        return Draft(cache_effect.TYPE, "False", cache_effect.NOT_DETERMINISTIC, told)
    if mode != "Auto":
        told = "" if mode == "Disabled" else ": the cache stays on, whether it pays or not"
        status: State = "False" if mode == "Disabled" else "Unknown"
        reason = "Disabled" if mode == "Disabled" else "NotJudged"
        return Draft(cache_effect.TYPE, status, reason, f"spec.cache.mode is {mode}{told}.")
    condition = facts.condition(cache_effect.TYPE)
    known = cache_effect.known(condition.reason, condition.message) if condition else None
    return (facts.cache_effect or known or cache_effect.UNTOLD).draft()


def _autoscaler(facts: Facts, world: World) -> Part:
    if facts.model.spec.autoscaling is None:
        return Draft("AutoscalerReady", "Unknown", "NotWanted", "spec.autoscaling is not set.")
    if world.autoscaler is None:
        return Draft("AutoscalerReady", "Unknown", PENDING, "There is no autoscaler while nothing is to be scaled.")
    conditions = (world.autoscaler.get("status") or {}).get("conditions") or ()
    for condition in conditions:
        if condition["type"] in ("AbleToScale", "ScalingActive") and condition["status"] == "False":
            told = condition.get("message") or condition["type"]
            return Draft("AutoscalerReady", "False", condition.get("reason") or "NotActive", told)
    if any(condition["type"] == "ScalingActive" and condition["status"] == "True" for condition in conditions):
        return Draft("AutoscalerReady", "True", "ScalingActive", "The autoscaler reads its metric.")
    return Draft("AutoscalerReady", "Unknown", PENDING, "The autoscaler has not read its metric yet.")
