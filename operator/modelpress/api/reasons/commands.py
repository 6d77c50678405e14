"""Reasons of commands that ask a cluster."""

from __future__ import annotations

from modelpress.api.reasons.row import Reason, Section

SECTION = Section(
    "Commands",
    "On standard error, with exit status 64.",
    (
        Reason(
            "NoSidecar",
            "`cache stats`, `cache purge`",
            "Neither a model nor an address is given, or no pod serves the model, or the cluster cannot be asked.",
            "Give the name of a model with its namespace, or `--address host:port` of an administration port.",
        ),
    ),
)
