"""A termination message fits into what the kubelet keeps, and loses what matters least first."""

from __future__ import annotations

from modelpress.api.message import LIMIT_BYTES, CandidateReported, Message, Trial


def a_message(*, trials=0, warning="", said="done"):
    return Message(
        outcome="Done",
        message=said,
        candidates=(
            CandidateReported(index=1, recipe="prune", form="TFLite", digest="d", size_bytes=1, warnings=(warning,)),
        ),
        trials=(Trial(recipe="quantize", verdict="Passed"),) * trials or None,
    )


def size(message):
    return len(message.json_line().encode())


def test_what_fits_is_not_changed():
    assert a_message(trials=8, warning="w").fitted() == a_message(trials=8, warning="w")


def test_trials_go_first_and_only_as_many_as_must():
    fitted = a_message(trials=200, warning="w").fitted()
    assert size(fitted) <= LIMIT_BYTES
    assert 40 < len(fitted.trials) < 200
    assert fitted.candidates[0].warnings == ("w",)


def test_warnings_go_before_the_end_of_the_sentence():
    fitted = a_message(trials=8, warning="w" * LIMIT_BYTES).fitted()
    assert (fitted.trials, fitted.candidates[0].warnings, fitted.message) == (None, (), "done")
    cut = a_message(warning="w", said="ä" * LIMIT_BYTES).fitted()
    assert size(cut) <= LIMIT_BYTES
    assert cut.message.endswith("ä…")
