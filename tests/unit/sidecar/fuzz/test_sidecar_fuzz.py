"""No bytes crash a parser of the sidecar or make it hang, and no two questions share a key; longer with `make fuzz`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = str(Path(__file__).parent)
sys.path.insert(0, FOLDER)
try:
    import fuzz
    import targets
finally:
    sys.path.remove(FOLDER)

INPUTS = 3000

REACHED = {
    "predict": {"keyed", "Malformed", "UnsupportedTensor", "UnknownFields", "OtherModel"},
    "json": {"keyed", "bytes"},
    "outline": {"read", "malformed", "uncacheable"},
    "tensor": {"read", "uncacheable", "malformed"},
    "named": {"named", "unnamed"},
    "frames": {"answered", "Reset", "waiting"},
    "grpc": {"0", "13"},
    "rest": {"200"},
    "http2": {"answered", "broken", "parted", "waiting", "foreign"},
    "http1": {"answered", "refused", "waiting"},
    "answers": {"read", "unreadable"},
    "record": {"read", "spoiled"},
    "texts": {"tunables", "refused"},
}
"""What the inputs must reach at least, or they prove nothing."""


@pytest.mark.parametrize("target", targets.targets(), ids=lambda target: target.name)
def test_no_input_crashes_hangs_or_shares_a_key(target):
    result = fuzz.run(target, inputs=INPUTS)
    assert result.inputs == INPUTS
    assert REACHED[target.name] <= set(result.outcomes)


def test_the_fuzzer_finds_a_key_that_leaves_something_out(monkeypatch):
    whole = targets.key.digest
    monkeypatch.setattr(
        targets.key, "digest", lambda parts: whole([part for part in parts if part[0] is not targets.key.Part.SHAPE])
    )
    with pytest.raises(AssertionError, match="One key for two questions"):
        fuzz.run(next(target for target in targets.targets() if target.name == "predict"), inputs=INPUTS)


def test_a_failure_tells_how_to_repeat_it():
    target = targets.Target("broken", lambda data: 1 // len(data), (b"x",))
    with pytest.raises(ZeroDivisionError) as error:
        fuzz.run(target, inputs=10)
    assert error.value.__notes__ == ["--only broken --input "]
