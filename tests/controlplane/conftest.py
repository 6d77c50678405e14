"""Fixtures of the tests against a real API server; `testbed/` holds what they are made of."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from testbed.fixtures import (
    audit,
    cluster,
    control_plane,
    crd,
    helm,
    kubectl,
    kubelet,
    model,
    namespace,
    programs,
    service_account,
)

__all__ = [
    "audit",
    "cluster",
    "control_plane",
    "crd",
    "helm",
    "kubectl",
    "kubelet",
    "model",
    "namespace",
    "programs",
    "service_account",
]
