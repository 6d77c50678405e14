"""What `/state` shows: the operator, the command line and people read it; metrics are for numbers over time."""

from __future__ import annotations

from typing import Any

from modelpress.sidecar.measures import Measures
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.tiers.disk import Disk
from modelpress.sidecar.tiers.tier import Tier
from modelpress.sidecar.upkeep import Upkeep


def cache(pipeline: Pipeline, upkeep: Upkeep, *, now: float) -> dict[str, Any]:
    """Asked for, in force, and what it brings; `now` is on the monotonic clock."""
    wanted, measures = pipeline.tunables.cache, pipeline.measures
    return {
        "mode": wanted.mode,
        "effectiveMode": _mode(pipeline),
        "deterministic": pipeline.deterministic,
        "policy": wanted.policy,
        "effectivePolicy": pipeline.memory.policy,
        "bytes": pipeline.memory.used,
        "limitBytes": wanted.memory_bytes,
        "entries": len(pipeline.memory),
        "hitRatio": round(measures.hit_ratio(), 4),
        "evictions": {cause.value: count for cause, count in pipeline.memory.left.items() if count},
        "tiers": {tier.name: _tier(tier, pipeline) for tier in pipeline.lower.tiers},
        **upkeep.state(now),
    }


def requests(measures: Measures) -> dict[str, Any]:
    """Outcomes by protocol; requests is their sum."""
    return {
        label: {
            "requests": counts.requests,
            "hits": counts.hits,
            "misses": counts.misses,
            "coalesced": counts.coalesced,
            "hitsBelowMemory": dict(counts.hits_below),
            "bypassed": dict(counts.bypassed),
            "refused": dict(counts.refused),
        }
        for label, counts in measures.protocols()
    }


def _mode(pipeline: Pipeline) -> str:
    """Disabled also where the model is not deterministic; Resting where Auto has switched the cache off for now."""
    if pipeline.tunables.cache.mode == "Disabled" or not pipeline.deterministic:
        return "Disabled"
    return "Resting" if pipeline.resting else "Enabled"


def _tier(tier: Tier, pipeline: Pipeline) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "working": tier.is_working,
        "breakerOpened": tier.opened,
        "events": {event.value: count for event, count in tier.events.items() if count},
    }
    if isinstance(tier, Disk):
        database = tier.database
        shown |= {
            "bytes": database.used,
            "limitBytes": pipeline.tunables.cache.disk_bytes,
            "entries": database.entries,
            "evicted": database.evicted,
            "diskFull": database.full,
            "begunAnew": database.replaced,
        }
    return shown
