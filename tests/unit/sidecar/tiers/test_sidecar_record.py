"""What lies in a tier is an answer only if every byte is as it was written, for this very question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.tiers import record
from modelpress.sidecar.tiers.record import Spoiled

KEY, OTHER = b"k" * 32, b"o" * 32
ANSWER = Answer(200, ((b"content-type", b"application/grpc"),), b"\0\0\0\0\3abc", ((b"grpc-status", b"0"),))
RECORD = record.encode(KEY, ANSWER, born=1000.0)
HEADERS = st.lists(st.tuples(st.binary(), st.binary()), max_size=3).map(tuple)


@given(st.integers(100, 599), HEADERS, st.binary(), HEADERS, st.floats(0, 2e9))
def test_an_answer_comes_back_as_it_was(status, headers, body, trailers, born):
    answer = Answer(status, headers, body, trailers)
    found = record.decode(KEY, record.encode(KEY, answer, born=born), now=born + 5)
    assert found.answer == answer
    assert found.age == pytest.approx(5, abs=1e-3)


@pytest.mark.parametrize("place", range(len(RECORD)))
def test_any_changed_byte_spoils_it(place):
    changed = bytearray(RECORD)
    changed[place] ^= 1
    with pytest.raises(Spoiled):
        record.decode(KEY, bytes(changed), now=1001)


@pytest.mark.parametrize("length", range(0, len(RECORD), 7))
def test_any_missing_end_spoils_it(length):
    with pytest.raises(Spoiled):
        record.decode(KEY, RECORD[:length], now=1001)


def test_the_answer_to_another_question_is_none():
    with pytest.raises(Spoiled):
        record.decode(OTHER, RECORD, now=1001)


def test_what_comes_from_the_future_has_no_age_to_trust():
    assert record.decode(KEY, RECORD, now=1000 - record.SKEW / 2).age == 0
    for now in (1000 - 2 * record.SKEW, float("nan")):
        with pytest.raises(Spoiled):
            record.decode(KEY, RECORD, now=now)


@given(st.binary(max_size=300))
def test_no_bytes_of_others_make_it_fail_otherwise(content):
    with pytest.raises(Spoiled):
        record.decode(KEY, content, now=1001)
