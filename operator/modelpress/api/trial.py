"""One trial of a search: a recipe that was tried, what was found, and whether it passed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from modelpress.api.base import Model

PASSED = "Passed"


class Trial(Model):
    """A line of the search's journal, and of the manifest of its artifact."""

    number: int
    """From 1, in the order of trying."""
    name: str
    """Names recipe and form within the artifact."""
    recipe: str
    """One line for people."""
    form: Literal["SavedModel", "TFLite"]
    verdict: str
    """`Passed`, or a reason: of the gate, of the check that refused it, or `Dominated`."""
    message: str
    """What was found, for people."""
    findings: int = 0
    """How many limits do not hold."""
    excess: float | None = None
    """By how much they are exceeded, each as a share of itself, added up; None where that is not known, or in what
    older releases wrote."""
    metric: float | None = None
    """The gate's first metric."""
    drop: float | None = None
    standard_error: float | None = None
    size_ratio: float | None = None
    latency_ratio: float | None = None
    """Gross, at the gate's percentile."""
    latency_low: float | None = None
    latency_high: float | None = None
    """The 95 % confidence interval of `latency_ratio`."""
    net_ratio: float | None = None
    """Medians less the server's own time; where that is unknown, the same as `latency_ratio`."""
    is_net: bool = False
    """Whether the server's own time is known."""
    net_low: float | None = None
    net_high: float | None = None
    """The 95 % confidence interval of `net_ratio`."""
    process_milliseconds: float | None = None
    """Median of single requests in the engine's own process: less true than a server's, and less disturbed."""
    digest: str | None = None
    """Content digest of the servable; None where there is none."""
    seconds: float = 0
    """It took so long."""
    front: bool = False
    """Whether it passed and no other that passed is at least as good in metric, size and latency, and better in one."""
    candidate: int | None = None
    """Its number among the candidates that were kept."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """What the guided part of the search chose; empty on the ladder."""

    @property
    def passed(self) -> bool:
        """Whether the gate let it pass."""
        return self.verdict == PASSED
