"""A report says which operation keeps answers from being bit-identical."""

from __future__ import annotations

from modelpress.api.artifact import ArtifactManifest, Servable, SourceFound
from modelpress.status import repeatability


def manifest(**fields):
    servable = Servable(path="source/1", form="SavedModel", digest="d", size_bytes=1, files=(), signatures=())
    found = SourceFound(uri="u", digest="d", format="SavedModel", signatures=(), servable=servable)
    return ArtifactManifest(key="k", created=1, source=found, candidates=(), **fields)


def test_a_model_that_answers_alike_is_not_warned_of():
    assert not list(repeatability.warnings(manifest()))


def test_random_operations_are_named_with_their_nodes():
    one = manifest(deterministic=False, random_operations=("RandomUniform (dropout/RandomUniform)", "and 3 more"))
    (warning,) = repeatability.warnings(one)
    assert "RandomUniform (dropout/RandomUniform), and 3 more" in warning
    assert "bit-identical" in warning and "training=False" in warning


def test_without_a_random_operation_state_is_suspected():
    (warning,) = repeatability.warnings(manifest(deterministic=False))
    assert "keeps state" in warning
