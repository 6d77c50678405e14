"""The metrics of the cache: what it holds, what left it, what each tier did, and whether it pays."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from modelpress.sidecar.memory import Cause
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.tiers.disk import Disk
from modelpress.sidecar.upkeep import Upkeep

PREFIX = "modelpress_sidecar_"
MEMORY = "memory"


def cache_families(pipeline: Pipeline, upkeep: Upkeep) -> Iterator[Metric]:
    """All metrics."""
    yield from _held(pipeline)
    yield from _effect(pipeline, upkeep)
    yield from _tiers(pipeline)
    yield from _prefetched(upkeep)


def _held(pipeline: Pipeline) -> Iterator[Metric]:
    held = GaugeMetricFamily(PREFIX + "cache_bytes", "Bytes in use by tier, overhead included.", labels=["tier"])
    entries = GaugeMetricFamily(PREFIX + "cache_entries", "Answers by tier.", labels=["tier"])
    evictions = CounterMetricFamily(PREFIX + "evictions", "Answers that left a tier.", labels=["tier", "cause"])
    held.add_metric([MEMORY], pipeline.memory.used)
    entries.add_metric([MEMORY], len(pipeline.memory))
    for cause in Cause:
        evictions.add_metric([MEMORY, cause.value], pipeline.memory.left[cause])
    for tier in pipeline.lower.tiers:
        if isinstance(tier, Disk):
            held.add_metric([tier.name], tier.database.used)
            entries.add_metric([tier.name], tier.database.entries)
            evictions.add_metric([tier.name, Cause.SPACE.value], tier.database.evicted)
    yield from (held, entries, evictions)


def _effect(pipeline: Pipeline, upkeep: Upkeep) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        PREFIX + "cache_hit_ratio", "hits / requests of the last five minutes.", pipeline.measures.hit_ratio()
    )
    yield GaugeMetricFamily(
        PREFIX + "cache_resting",
        "1 while mode Auto sends requests past the cache, because it costs more than it saves.",
        float(pipeline.resting),
    )
    yield CounterMetricFamily(
        PREFIX + "cache_switched_off",
        "Times that the cache was found to cost more than it saves.",
        upkeep.effectiveness.switches,
    )
    verdict = upkeep.effectiveness.verdict
    if verdict is not None:
        for name, text, value in (
            ("cost", "What the cache costs a request, in the last window.", verdict.cost),
            ("saving", "What the cache saves a request, in the last window.", verdict.saving),
        ):
            yield GaugeMetricFamily(f"{PREFIX}cache_{name}_seconds", text, value)


def _tiers(pipeline: Pipeline) -> Iterator[Metric]:
    events = CounterMetricFamily(PREFIX + "tier_events", "What became of lookups and stores.", labels=["tier", "event"])
    seconds = HistogramMetricFamily(PREFIX + "tier_lookup_seconds", "Lookups below memory.", labels=["tier"])
    working = GaugeMetricFamily(
        PREFIX + "tier_working", "0 while a tier fails and is left alone (circuit breaker open).", labels=["tier"]
    )
    opened = CounterMetricFamily(PREFIX + "tier_breaker_opened", "Times that it was opened.", labels=["tier"])
    for tier in pipeline.lower.tiers:
        for event, count in tier.events.items():
            events.add_metric([tier.name, event.value], count)
        seconds.add_metric([tier.name], list(tier.seconds.cumulative()), tier.seconds.total)
        working.add_metric([tier.name], float(tier.is_working))
        opened.add_metric([tier.name], tier.opened)
        if isinstance(tier, Disk):
            yield CounterMetricFamily(
                PREFIX + "disk_full", "Times that the disk below the disk tier had no space left.", tier.database.full
            )
            yield CounterMetricFamily(
                PREFIX + "disk_begun_anew",
                "Times that the file was broken or stuck and replaced.",
                tier.database.replaced,
            )
    if pipeline.lower:
        yield from (events, seconds, working, opened)


def _prefetched(upkeep: Upkeep) -> Iterator[Metric]:
    progress = upkeep.prefetch.progress
    yield GaugeMetricFamily(PREFIX + "prefetch_requests", "Common requests to be asked ahead.", progress.total)
    done = CounterMetricFamily(PREFIX + "prefetch_done", "Of these, by what became of them.", labels=["result"])
    for result in ("answered", "known", "unsuitable", "failed", "left_out"):
        done.add_metric([result], getattr(progress, result))
    yield done
