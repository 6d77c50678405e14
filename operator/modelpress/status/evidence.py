"""Whether a verdict rests on rows that mean anything. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from modelpress.api.measurement import Evidence


def warnings(evidence: Evidence | None, samples: int) -> Iterator[str]:
    """A sentence with the cure where a model was measured on made-up rows; None is evidence that nobody told."""
    if evidence == "Synthetic":
        yield (
            f"nothing was measured on real rows: source and candidate were compared on {samples} rows of random "
            "numbers, and on what it will be asked the candidate may lose more; set spec.data.evaluation, or save "
            "warm-up requests with the model (assets.extra)"
        )
