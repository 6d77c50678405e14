"""URIs of the resource become paths, or a refusal that says what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelpress.api.errors import Invalid
from modelpress.storage import layout, location


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/models/churn", "/models/churn"),
        ("file:///models/churn", "/models/churn"),
        ("file:/models/my%20model", "/models/my model"),
        ("pvc://models/churn/7", "/claims/models/churn/7"),
        ("pvc://models", "/claims/models"),
    ],
)
def test_a_uri_names_a_path(uri, expected, monkeypatch):
    monkeypatch.setenv(location.PVC_ROOT_VARIABLE, "/claims")
    assert location.resolve(uri, field="spec.source.uri") == Path(expected)


@pytest.mark.parametrize("uri", ["hdfs://models/a", "ftp://b/c"])
def test_an_unknown_scheme_is_refused_with_the_cure(uri):
    with pytest.raises(Invalid) as refused:
        location.resolve(uri, field="spec.source.uri")
    assert refused.value.reason == "UnsupportedScheme"
    assert refused.value.field == "spec.source.uri"
    assert uri in refused.value.message
    assert "pvc://<claim>/<path>" in refused.value.message


@pytest.mark.parametrize("uri", ["pvc://models/../../etc", "pvc:///x", "pvc://Models/x", "file://host/x"])
def test_a_location_never_leaves_its_claim_or_host(uri):
    with pytest.raises(Invalid) as refused:
        location.resolve(uri, field="f")
    assert refused.value.reason == "InvalidLocation"


def test_each_namespace_has_its_own_part_of_a_store(tmp_path):
    ours, theirs = (layout.opened(str(tmp_path), namespace) for namespace in ("vision", "speech"))
    assert ours.artifact("k") != theirs.artifact("k")
    assert ours.manifest("k") is None
