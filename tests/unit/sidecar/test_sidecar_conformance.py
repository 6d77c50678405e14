"""The published vectors hold, at both levels, and each component of the key is needed for them."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from modelpress.sidecar import json_key, key
from modelpress.sidecar.key import Identity, Level1, Part
from modelpress.sidecar.reason import Uncacheable

FOLDER = Path(__file__).parent / "conformance"
VECTORS: list[dict[str, Any]] = json.loads((FOLDER / "vectors.json").read_text())["vectors"]

Side = dict[str, Any]


def canonical(side: Side) -> bytes:
    identity, request = Identity(side["model"], side["artifact"]), base64.b64decode(side["request"])
    if side["protocol"] == "grpc":
        return key.predict(identity, side["version"], request, largest=1 << 20)
    return json_key.predict(identity, side["version"], request, side.get("origin", "").encode())


def raw(side: Side) -> bytes:
    identity, request = Identity(side["model"], side["artifact"]), base64.b64decode(side["request"])
    return Level1(identity, side["version"], side["protocol"]).digest(side.get("origin", "").encode(), [request])


def of(expectation: str) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in VECTORS if vector["expect"] == expectation]


@pytest.mark.parametrize("vector", of("different"))
def test_different_questions_have_different_keys_at_both_levels(vector):
    assert canonical(vector["left"]) != canonical(vector["right"])
    assert raw(vector["left"]) != raw(vector["right"])


@pytest.mark.parametrize("vector", of("equal"))
def test_one_question_in_two_encodings_has_one_key(vector):
    assert canonical(vector["left"]) == canonical(vector["right"])


@pytest.mark.parametrize("vector", of("uncacheable"))
def test_what_is_not_certain_is_passed_through_with_the_reason(vector):
    with pytest.raises(Uncacheable) as refused:
        canonical(vector["left"])
    assert refused.value.reason == vector["reason"]


COMMON = {Part.ARTIFACT, Part.MODEL, Part.VERSION, Part.SIGNATURE, Part.CONTENT}
PARTS = {
    "grpc": COMMON | {Part.INPUT, Part.DTYPE, Part.SHAPE, Part.OUTPUT},
    "rest": COMMON | {Part.FORM, Part.BODY, Part.ORIGIN},
}


def mutate(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys without one component."""
    whole = key.digest

    def mutant(parts: key.Parts) -> bytes:
        return whole([(tag, value) for tag, value in parts if tag is not part])

    monkeypatch.setattr(key, "digest", mutant)
    monkeypatch.setattr(json_key, "digest", mutant)


def pairs(protocol: str) -> list[tuple[Side, Side]]:
    """Different questions of which at least one comes by `protocol`."""
    sides = [(vector["left"], vector["right"]) for vector in VECTORS if vector["expect"] == "different"]
    return [pair for pair in sides if protocol in (pair[0]["protocol"], pair[1]["protocol"])]


@pytest.mark.parametrize(
    ("protocol", "part"),
    [(protocol, part) for protocol, parts in PARTS.items() for part in sorted(parts)],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_canonical_key_without_any_one_component_would_break_a_vector(protocol, part, monkeypatch):
    mutate(part, monkeypatch)
    assert any(canonical(left) == canonical(right) for left, right in pairs(protocol))


@pytest.mark.parametrize("part", [Part.ARTIFACT, Part.MODEL, Part.VERSION, Part.METHOD], ids=lambda part: part.name)
def test_a_first_level_without_any_one_component_would_break_a_vector(part, monkeypatch):
    mutate(part, monkeypatch)
    assert any(raw(left) == raw(right) for protocol in PARTS for left, right in pairs(protocol))


def test_a_first_level_without_the_header_origin_would_break_a_vector(monkeypatch):
    whole = Level1.digest
    monkeypatch.setattr(Level1, "digest", lambda self, context, chunks: whole(self, b"", chunks))
    assert any(raw(left) == raw(right) for left, right in pairs("rest"))


def test_every_component_is_left_out_of_one_key_or_another():
    assert set().union(*PARTS.values()) | {Part.METHOD} == set(Part)  # the method is needed at the first level


def test_a_key_that_does_not_frame_its_components_would_break_a_vector(monkeypatch):
    monkeypatch.setattr(key, "digest", lambda parts: b"".join(value for _, value in parts))
    pairs = [vector for vector in VECTORS if vector["expect"] == "different"]
    assert any(canonical(vector["left"]) == canonical(vector["right"]) for vector in pairs)


def test_the_published_file_is_what_its_source_makes():
    spec = importlib.util.spec_from_file_location("make_vectors", FOLDER / "make_vectors.py")
    assert spec is not None and spec.loader is not None
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    assert (FOLDER / "vectors.json").read_text() == source.text()
