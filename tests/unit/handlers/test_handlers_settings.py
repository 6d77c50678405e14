"""Kopf's settings, and what an event means."""

from __future__ import annotations

import pytest
from kopf._cogs.structs.references import Resource

from modelpress.handlers import registry, runtime
from modelpress.kube import kinds
from modelpress.reconcile.queue import Key

IN_VISION = {"namespace": "vision", "name": "bert-7f9c"}


@pytest.mark.parametrize("kind", kinds.OWNED, ids=lambda kind: kind.plural)
def test_children_are_watched_by_label(kind):
    """A selector that matches no resource would be ignored in silence, and every object of the cluster streamed."""
    resource = Resource(kind.group, kind.version, kind.plural)
    selectors = list(runtime.settings().watching.label_selectors.collect(resource))
    assert selectors == ["app.kubernetes.io/managed-by=modelpress"]


def test_models_are_watched_without_a_selector():
    resource = Resource(kinds.MODEL.group, kinds.MODEL.version, kinds.MODEL.plural)
    assert not list(runtime.settings().watching.label_selectors.collect(resource))


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"labels": {kinds.MODEL_LABEL: "bert"}}, "bert"),
        ({"ownerReferences": [{"kind": "CompressedModel", "name": "bert", "controller": True}]}, "bert"),
        ({"ownerReferences": [{"kind": "Job", "name": "other", "controller": True}]}, None),
        ({}, None),
    ],
    ids=["by label", "by controller where the label was removed", "of another kind", "of nobody"],
)
def test_an_event_of_a_child_is_about_its_model(metadata, owner):
    live = {"kind": "Pod", "metadata": IN_VISION | metadata}
    assert registry.owner_of(live) == (owner and Key("CompressedModel", "vision", owner))
