"""Long requests are read in place: what they ask is known and told apart, and no copies of them are made."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest

from modelpress.api import quantity, serving
from modelpress.api.tunables import Tunables
from modelpress.sidecar import key, outline, process
from modelpress.sidecar.key import Identity
from modelpress.sidecar.outline import Outline
from modelpress.sidecar.reason import Bypass, Uncacheable
from modelpress.sidecar.wire_pb2 import PredictRequest

IDENTITY = Identity("m", "sha256:" + "a" * 64)
SIZE = 5000


def a_request(change: Callable[[PredictRequest], object] = lambda request: None) -> bytes:
    """An image as a tensor and another as it was encoded."""
    request = PredictRequest(output_filter=["y"])
    request.model_spec.name = "m"
    image, encoded = request.inputs["image"], request.inputs["encoded"]
    image.dtype, image.tensor_content = 4, random.Random(1).randbytes(SIZE)
    image.tensor_shape.dim.add(size=SIZE)
    encoded.dtype = 7
    encoded.tensor_shape.dim.add(size=2)
    encoded.string_val.extend([b"short", random.Random(2).randbytes(SIZE)])
    change(request)
    return request.SerializeToString(deterministic=True)


def name(message: bytes, size: int = 1 << 20) -> bytes:
    """Its key, where it comes in pieces of `size`."""
    whole = b"\0" + len(message).to_bytes(4, "big") + message
    return key.long_predict(IDENTITY, 7, [whole[at : at + size] for at in range(0, len(whole), size)])


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_an_outline_leaves_out_what_makes_a_message_long_and_nothing_else(size):
    message = a_request()
    pieces = [b"ahead", *(message[at : at + size] for at in range(0, len(message), size))]
    found = Outline(pieces, 5).request()
    assert len(found) < 200
    expected = PredictRequest.FromString(message)
    expected.inputs["image"].tensor_content = b""
    expected.inputs["encoded"].string_val[1] = b""
    read = PredictRequest.FromString(found)
    assert read == expected
    assert read.inputs["encoded"].string_val[0] == b"short"


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_one_field_can_be_had_by_itself(size):
    message = a_request()
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    assert PredictRequest.FromString(Outline(pieces, 0).only(1)) == PredictRequest(
        model_spec=PredictRequest.FromString(message).model_spec
    )


def test_how_a_request_was_cut_does_not_change_its_key():
    message = a_request()
    assert len({name(message, size) for size in (1, 5, 6, 333, 1 << 20)}) == 1


_DIFFERENCES: dict[str, Callable[[PredictRequest], object]] = {
    "a bit": lambda r: setattr(r.inputs["image"], "tensor_content", b"\1" + r.inputs["image"].tensor_content[1:]),
    "a string": lambda r: r.inputs["encoded"].string_val.__setitem__(0, b"other"),
    "the shape": lambda r: r.inputs["image"].tensor_shape.dim.add(size=1),
    "the dtype": lambda r: setattr(r.inputs["image"], "dtype", 6),
    "the outputs": lambda r: r.output_filter.append("z"),
    "the signature": lambda r: setattr(r.model_spec, "signature_name", "other"),
    "the name of an input": lambda r: r.inputs["other"].CopyFrom(r.inputs.pop("image")),
}


@pytest.mark.parametrize("change", _DIFFERENCES.values(), ids=_DIFFERENCES)
def test_another_question_has_another_key(change):
    assert name(a_request(change)) != name(a_request())


def test_another_model_or_version_has_another_key():
    whole = [b"\0" + len(a_request()).to_bytes(4, "big") + a_request()]
    other = IDENTITY._replace(artifact="sha256:" + "b" * 64)
    assert len({key.long_predict(i, v, whole) for i, v in ((IDENTITY, 7), (IDENTITY, 8), (other, 7))}) == 3


def test_its_key_is_never_that_of_a_short_request():
    assert name(a_request()) != key.predict(IDENTITY, 7, a_request(), largest=1 << 20)


_BYPASSED: dict[str, tuple[Callable[[PredictRequest], object], Bypass]] = {
    "another model": (lambda r: setattr(r.model_spec, "name", "n"), Bypass.OTHER_MODEL),
    "a label": (lambda r: setattr(r.model_spec, "version_label", "stable"), Bypass.VERSION_LABEL),
    "another version": (lambda r: setattr(r.model_spec.version, "value", 8), Bypass.OTHER_VERSION),
    "an unknown field": (lambda r: r.MergeFromString(b"\x7a\x01x"), Bypass.UNKNOWN_FIELDS),
    "an unknown field of a tensor": (lambda r: r.inputs["image"].MergeFromString(b"\x7a\x01x"), Bypass.UNKNOWN_FIELDS),
    "a group": (lambda r: r.MergeFromString(b"\x7b\x7c"), Bypass.UNKNOWN_FIELDS),
    "a dtype that refers to the server": (lambda r: setattr(r.inputs["image"], "dtype", 20), Bypass.UNSUPPORTED_TENSOR),
    "a tensor of a later format": (
        lambda r: setattr(r.inputs["image"], "version_number", 1),
        Bypass.UNSUPPORTED_TENSOR,
    ),
    "many inputs": (lambda r: [r.inputs[str(n)] for n in range(5000)], Bypass.UNSUPPORTED_TENSOR),
    "a long name": (lambda r: r.output_filter.append("x" * (outline.LARGEST + 1)), Bypass.UNSUPPORTED_TENSOR),
}


@pytest.mark.parametrize(("change", "reason"), _BYPASSED.values(), ids=_BYPASSED)
def test_what_may_not_be_kept_has_no_key(change, reason):
    with pytest.raises(Uncacheable) as told:
        name(a_request(change))
    assert told.value.reason is reason


@pytest.mark.parametrize("cut", [1, 3, 100, SIZE, SIZE + 40, -1])
def test_what_is_cut_off_is_malformed(cut):
    with pytest.raises(Uncacheable) as told:
        name(a_request()[:cut] if cut != 1 else b"\x0a")
    assert told.value.reason is Bypass.MALFORMED


async def test_long_requests_are_kept_and_told_apart(start, calling, upstream, outcomes):
    sidecar = await start()
    call = calling(sidecar)

    def asked(content: bytes) -> bytes:
        request = PredictRequest()
        request.model_spec.name = "m"
        request.inputs["x"].dtype, request.inputs["x"].tensor_content = 4, content
        request.inputs["x"].tensor_shape.dim.add(size=len(content))
        return request.SerializeToString()

    one, other = bytes(outline.LONG + 1), bytes(outline.LONG) + b"\1"
    answers = [await call(asked(content)) for content in (one, other, one, other)]
    assert answers[0] == answers[2] != answers[1] == answers[3]
    assert upstream.calls["Predict"] == 2
    assert outcomes(sidecar)["hits"] == 2


def test_keys_of_long_requests_need_no_room():
    body = PredictRequest(model_spec={"name": "m"}, inputs={"x": {"dtype": 4, "tensor_content": bytes(30 << 20)}})
    message = body.SerializeToString()
    chunks = [
        b"\0" + len(message).to_bytes(4, "big"),
        *(message[at : at + (1 << 20)] for at in range(0, len(message), 1 << 20)),
    ]
    tracemalloc.start()
    key.long_predict(IDENTITY, 7, chunks)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 20


def test_all_bodies_that_are_held_fit_into_the_memory_of_the_sidecar():
    """64 MB are what it takes idle (measured); the cache's memory comes on top of the limit."""
    limit = quantity.number(serving._sidecar_resources().limits["memory"])
    assert process.BODIES * Tunables().max_body_bytes + 2 * outline.LONG + 64e6 < limit
