"""Counters and histograms under TensorFlow Serving's names, which prometheus_client would rename."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence

LATENCY_BUCKETS = tuple(10 * 1.8**power for power in range(33))
"""Microseconds."""
EXAMPLE_BUCKETS = tuple(float(2**power) for power in range(15))

Labels = tuple[str, ...]


class Counter:
    """Counts events by labels."""

    def __init__(self, name: str, labels: Labels) -> None:
        self.name, self.labels = name, labels
        self._values: dict[Labels, int] = {}
        self._lock = threading.Lock()

    def add(self, *labels: str, amount: int = 1) -> None:
        """Count `amount` more under the label values."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + amount

    def lines(self) -> Sequence[str]:
        """In Prometheus' text format."""
        with self._lock:
            values = sorted(self._values.items())
        return [
            f"# TYPE {self.name} counter",
            *(f"{self.name}{_braces(self.labels, labels)} {value}" for labels, value in values),
        ]


class Histogram:
    """Distribution of a value by labels."""

    def __init__(self, name: str, labels: Labels, buckets: Sequence[float]) -> None:
        self.name, self.labels, self._buckets = name, labels, buckets
        self._cells: dict[Labels, tuple[list[int], list[float]]] = {}
        self._lock = threading.Lock()

    def add(self, value: float, *labels: str) -> None:
        """Count one value under the label values."""
        with self._lock:
            counts, total = self._cells.setdefault(labels, ([0] * (len(self._buckets) + 1), [0.0]))
            counts[bisect.bisect_right(self._buckets, value)] += 1
            total[0] += value

    def lines(self) -> Sequence[str]:
        """In Prometheus' text format."""
        with self._lock:
            cells = [(labels, list(counts), total[0]) for labels, (counts, total) in sorted(self._cells.items())]
        out = [f"# TYPE {self.name} histogram"]
        for labels, counts, total in cells:
            below = 0
            for bound, count in zip([*self._buckets, None], counts, strict=True):
                below += count
                text = "+Inf" if bound is None else f"{bound:g}"
                out.append(f"{self.name}_bucket{_braces((*self.labels, 'le'), (*labels, text))} {below}")
            out.append(f"{self.name}_sum{_braces(self.labels, labels)} {total:g}")
            out.append(f"{self.name}_count{_braces(self.labels, labels)} {below}")
        return out


def _braces(names: Labels, values: Labels) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    pairs = ",".join(f'{name}="{escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


class Metrics:
    """Everything a server counts."""

    def __init__(self) -> None:
        latency = LATENCY_BUCKETS
        self.request_count = Counter(":tensorflow:serving:request_count", ("model_name", "status"))
        self.request_latency = Histogram(
            ":tensorflow:serving:request_latency", ("model_name", "API", "entrypoint"), latency
        )
        self.runtime_latency = Histogram(
            ":tensorflow:serving:runtime_latency", ("model_name", "API", "runtime"), latency
        )
        self.example_counts = Histogram(":tensorflow:serving:request_example_counts", ("model",), EXAMPLE_BUCKETS)
        self.example_total = Counter(":tensorflow:serving:request_example_count_total", ("model",))
        self.warmup_latency = Histogram(":tensorflow:serving:model_warmup_latency", ("model_path", "status"), latency)
        self.warmup_records = Counter(":tensorflow:serving:model_warmup_records_read", ("model_path", "status"))
        batching = ":tensorflow:serving:batching_session:"
        self.queuing_latency = Histogram(f"{batching}queuing_latency", ("thread_pool_name",), latency)
        self.input_batch_size = Histogram(f"{batching}input_batch_size", (), EXAMPLE_BUCKETS)
        self.processed_batch_size = Histogram(f"{batching}processed_batch_size", (), EXAMPLE_BUCKETS)
        self.padding_size = Histogram(f"{batching}padding_size", ("execution_batch_size",), EXAMPLE_BUCKETS)
        self.wrapped_run_count = Counter(f"{batching}wrapped_run_count", ())
        self.loads = Counter(":tensorflow:cc:saved_model:load_attempt_count", ("model_path", "status"))

    def page(self) -> str:
        """What a scrape gets."""
        return "\n".join(line for metric in vars(self).values() for line in metric.lines()) + "\n"
