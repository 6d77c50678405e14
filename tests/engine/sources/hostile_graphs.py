"""SavedModels changed as a hostile author would change them, and what is said of them while nobody trusts it."""

from __future__ import annotations

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from modelpress.api.errors import Invalid
from modelpress.api.source import Source
from modelpress.compress.sources import soundness


def changed(folder, change):
    path = folder / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(content.meta_graphs[0])
    path.write_bytes(content.SerializeToString())


def refusal(folder):
    with pytest.raises(Invalid) as refused:
        soundness.require_trusted(folder, Source(uri=str(folder)))
    assert refused.value.reason == "CodeNotTrusted"
    return refused.value.message
