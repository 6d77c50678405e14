"""`spec.autoscaling`: pods that follow the load."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelpress.api.base import Model
from modelpress.api.duration import Duration
from modelpress.api.rules import Rule, checked


class Autoscaling(Model):
    """The scale subresource takes an autoscaler of your own instead."""

    model_config = checked(
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not exceed maxReplicas",
            field=".minReplicas",
            says="'minReplicas is %d and maxReplicas is %d: minReplicas must not exceed"
            " maxReplicas'.format([self.minReplicas, self.maxReplicas])",
        )
    )

    min_replicas: int = Field(
        default=1, ge=1, le=1000, description="Fewest pods (zero is not offered: nothing would wake it)."
    )
    max_replicas: int = Field(ge=1, le=1000, description="Most pods.")
    metric: Literal["CPU", "Concurrency"] = Field(
        default="CPU",
        description="CPU (of the server container) needs the metrics API only; Concurrency (in flight behind the"
        " cache plus"
        " queued, as a share of the limit) needs a custom metrics adapter, or KEDA and Prometheus.",
    )
    target_utilization: int = Field(
        default=70,
        ge=1,
        le=1000,
        description="Percent of the CPU request, or of the concurrency limit; above 100 lets requests queue.",
    )
    provider: Literal["HPA", "KEDA"] = Field(default="HPA", description="Who scales.")
    scale_down_delay: Duration = Field(default="5m", description="How long load must be low.")
