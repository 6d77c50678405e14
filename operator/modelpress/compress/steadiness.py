"""A source that contradicts itself is nothing that candidates could be compared with."""

from __future__ import annotations

from collections.abc import Sequence

from modelpress.api import gate
from modelpress.api.errors import Invalid
from modelpress.api.measurement import Measurements, MetricMeasured
from modelpress.compress.check import Reference
from modelpress.compress.evaluation import comparison, metrics
from modelpress.compress.rows import Rows
from modelpress.compress.signature import Signature
from modelpress.status import gate as judging

_CONTRADICTIONS = frozenset({"DropTooLarge", "BelowMinimum"})


def require(
    reference: Reference, signature: Signature, rows: Rows, wanted: Sequence[gate.Metric], random: Sequence[str]
) -> None:
    """Holds the second answers of the source against its first, as if they were a candidate's.

    `rows` are the data set of `signature`, `random` the random operations of its graph; without any, what differs is
    state, which source and candidate may share. Raises Invalid `SourceNotSteady` where no candidate, not even the
    source itself, could pass a metric against the source.
    """
    if reference.repeatable or not random or signature.name not in reference.outputs:
        return
    for index, metric in enumerate(wanted):
        if metric.type not in judging.AGAINST_SOURCE:
            continue
        for output in comparison.outputs_of(metric, signature, rows):
            measured = _itself(reference, signature.name, metric, output)
            limits = gate.Gate(metrics=[metric.model_copy(update={"output": output})])
            verdict = judging.judge(Measurements(metrics=(measured,)), limits, samples=len(rows))
            if any(finding.reason in _CONTRADICTIONS for finding in verdict.findings):
                raise _not_steady(measured, random, f"spec.gate.metrics[{index}]")


def _itself(reference: Reference, name: str, metric: gate.Metric, output: str) -> MetricMeasured:
    first, second = (comparison.rows_of(one[name][output]) for one in (reference.outputs, reference.again))
    accumulator = metrics.accumulator(metric, output)
    accumulator.update(first, second, None)
    return accumulator.measured()


def _not_steady(measured: MetricMeasured, random: Sequence[str], field: str) -> Invalid:
    return Invalid(
        "SourceNotSteady",
        f"the uncompressed model answers the same rows in two ways (it has the random operations {', '.join(random)}): "
        f"{measured.type} of its output {measured.output} with itself is {measured.value or 0:.3g}, so that no "
        "candidate could pass; export it in inference mode (training=False, no dropout, no sampling), or choose a "
        "metric against labels",
        field=field,
    )
