"""The counts of a sidecar as Prometheus metrics, made when they are scraped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from modelpress.sidecar.measures import Distribution, Measures
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.reload import TunablesFile
from modelpress.sidecar.rollout.families import rollout_families
from modelpress.sidecar.tiers.families import MEMORY, cache_families
from modelpress.sidecar.upkeep import Upkeep

PREFIX = "modelpress_sidecar_"


class Exposition:
    """A prometheus_client collector."""

    def __init__(self, pipeline: Pipeline, file: TunablesFile, upkeep: Upkeep) -> None:
        self._pipeline = pipeline
        self._upkeep = upkeep
        self._file = file

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        yield from self._outcomes(self._pipeline.measures)
        yield from self._gauges()
        yield from cache_families(self._pipeline, self._upkeep)
        yield from self._histograms(self._pipeline.measures)
        yield from rollout_families(self._pipeline.rollout)

    def describe(self) -> Iterable[Metric]:
        """Nothing: collecting is cheap, but need not happen at registration."""
        return ()

    def _outcomes(self, measures: Measures) -> Iterator[Metric]:
        protocol = ["protocol"]
        requests = _counter("requests", "Requests; the sum of hits, misses, coalesced, bypassed and refused.", protocol)
        hits = _counter("hits", "Requests answered from the cache, by tier.", [*protocol, "tier"])
        misses = _counter("misses", "Cacheable requests that went to the model.", protocol)
        coalesced = _counter("coalesced", "Requests answered by an equal request that was in the model.", protocol)
        bypassed = _counter("bypassed", "Requests passed on without the cache.", [*protocol, "reason"])
        refused = _counter("refused", "Requests that never reached the model.", [*protocol, "reason"])
        responses = _counter("responses", "Responses by gRPC or HTTP code.", [*protocol, "code"])
        for label, counts in measures.protocols():
            requests.add_metric([label], counts.requests)
            hits.add_metric([label, MEMORY], counts.hits - counts.hits_below.total())
            for tier in self._pipeline.lower.tiers:
                hits.add_metric([label, tier.name], counts.hits_below[tier.name])
            misses.add_metric([label], counts.misses)
            coalesced.add_metric([label], counts.coalesced)
            for bypass, number in counts.bypassed.items():
                bypassed.add_metric([label, bypass.value], number)
            for refusal, number in counts.refused.items():
                refused.add_metric([label, refusal.value], number)
            for code, number in counts.responses.items():
                responses.add_metric([label, code], number)
        yield from (requests, hits, misses, coalesced, bypassed, refused, responses)
        reloads = _counter("tunables_loads", "Times that sidecar.json was read.", ["result"])
        reloads.add_metric(["valid"], self._file.loads)
        reloads.add_metric(["invalid"], self._file.failures)
        yield reloads

    def _gauges(self) -> Iterator[Metric]:
        pipeline = self._pipeline
        limiter = pipeline.limiter
        yield _gauge("in_flight", "Requests in the model now.", limiter.in_flight)
        yield _gauge("queued", "Requests that wait for a place in the model.", limiter.queued)
        yield _gauge("concurrency_limit", "Places in the model.", limiter.limit)
        yield _gauge(
            "active_requests", "Requests being handled, hits and queued ones included.", pipeline.measures.active
        )
        yield _gauge("request_body_bytes", "Bytes of request bodies held now.", pipeline.measures.body_bytes)
        yield _gauge(
            "ready", "1 while the model server reports an available version.", pipeline.availability.status.ready
        )
        yield _gauge(
            "tunables_valid", "0 while sidecar.json is invalid and the last good one is in force.", not self._file.error
        )

    def _histograms(self, measures: Measures) -> Iterator[Metric]:
        yield _histogram("key_seconds", "Making a canonical key.", measures.key_seconds)
        yield _histogram("lookup_seconds", "Hashing the raw bytes and looking them up.", measures.lookup_seconds)
        yield _histogram("insert_seconds", "Putting an answer into the cache.", measures.insert_seconds)
        yield _histogram("queue_wait_seconds", "Waiting for a place in the model.", measures.queue_seconds)
        yield _histogram("upstream_seconds", "From a place in the model to its answer.", measures.upstream_seconds)


def _counter(name: str, text: str, labels: list[str]) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, labels=labels)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=float(value))


def _histogram(name: str, text: str, distribution: Distribution) -> HistogramMetricFamily:
    return HistogramMetricFamily(
        PREFIX + name, text, buckets=list(distribution.cumulative()), sum_value=distribution.total
    )
