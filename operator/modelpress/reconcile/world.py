"""What was found or refused while children were applied."""

from __future__ import annotations

from typing import NamedTuple

from modelpress.kube.kinds import Manifest
from modelpress.reconcile.rollout import Rollout
from modelpress.status.gate import Finding


class World(NamedTuple):
    """After the children were applied."""

    rollout: Rollout
    autoscaler: Manifest | None = None
    obstacle: Finding | None = None
    """A child that could not be written: its name is taken, or the API server refuses it."""
    is_addressable: bool = True
    """Whether there is a Service, and it is ours."""
