"""The constant-output model has the shapes of the model whose server it measures, in either form."""

from __future__ import annotations

import numpy as np
import pytest

from modelpress.compress import check
from modelpress.compress.evaluation import constant
from modelpress.compress.signature import Signature, Tensor

TOKENS = Signature(
    "serving_default",
    {"ids": Tensor("int32", (None, None)), "mask": Tensor("int32", (None, None))},
    {"logits": Tensor("float32", (None, 2)), "hidden": Tensor("float32", (None, None, 4)), "n": Tensor("int64", ())},
)


@pytest.mark.parametrize("form", ["SavedModel", "TFLite"])
def test_it_answers_zeros_for_any_batch_and_length(form, tmp_path):
    constant.write(TOKENS, form, tmp_path / "base" / "1")
    call = check.loaded(tmp_path / "base" / "1", form, ("serving_default",))
    for rows, length in ((1, 5), (3, 7)):
        fed = {name: np.ones((rows, length), "i4") for name in TOKENS.inputs}
        found = call("serving_default", fed)
        assert {name: array.shape for name, array in found.items()} == {
            "logits": (rows, 2),
            "hidden": (rows, length, 4),
            "n": (),
        }
        assert not any(array.any() for array in found.values())
        assert found["n"].dtype == np.int64


def test_strings_go_in_and_come_out(tmp_path):
    signature = Signature("say", {"word": Tensor("string", (None,))}, {"said": Tensor("string", (None, 2))})
    constant.write(signature, "SavedModel", tmp_path / "base" / "1")
    call = check.loaded(tmp_path / "base" / "1", "SavedModel", ("say",))
    assert call("say", {"word": np.array([b"a", b"b"])})["said"].tolist() == [[b"", b""]] * 2
