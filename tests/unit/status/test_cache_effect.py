"""What sidecars say of their cache, and when it becomes the condition CacheEffective."""

from __future__ import annotations

from typing import Any

import pytest

from modelpress.status import cache_effect
from modelpress.status.cache_effect import NOBODY, Course, Effect, Reading

DIGEST = "sha256:" + "cd" * 32
PAYS = Effect("True", "Effective", "The cache pays: a hit ratio of 60.0%.")
COSTS = Effect("False", "CostsMoreThanItSaves", "The cache does not pay: a hit ratio of 0.1%.")
EARLY = Effect("Unknown", "NotMeasured", "Too few requests have come to tell.")
SILENT = Reading(None)


def state(effect: Effect, digest: str = DIGEST) -> dict[str, Any]:
    return {"artifactDigest": digest, "cache": {"effective": effect._asdict(), "hitRatio": 0.5}, "requests": {}}


def after(course: Course, *said: Effect) -> Course:
    for one in said:
        course = course.after(one)
    return course


@pytest.mark.parametrize("effect", [PAYS, COSTS, EARLY])
def test_a_sidecar_tells_its_verdict_in_its_own_words(effect: Effect) -> None:
    assert cache_effect.read(state(effect), DIGEST) == Reading(effect)


@pytest.mark.parametrize("answer", [None, {}, {"cache": {}}, {"artifactDigest": DIGEST, "cache": {"effective": "yes"}}])
def test_what_cannot_be_read_is_no_answer(answer: Any) -> None:
    assert cache_effect.read(answer, DIGEST) == SILENT


@pytest.mark.parametrize("reason", ["Disabled", "NotDeterministic", "SomethingOfAnotherRelease"])
def test_of_what_the_operator_knows_better_a_sidecar_is_not_believed(reason: str) -> None:
    read = cache_effect.read(state(Effect("False", reason, "...")), DIGEST)
    assert read.effect is not None and read.effect[:2] == ("Unknown", "NotMeasured")


def test_a_pod_of_another_artifact_has_no_vote() -> None:
    other = cache_effect.read(state(COSTS, "sha256:" + "00" * 32), DIGEST)
    assert cache_effect.together([other, Reading(PAYS)]) == PAYS
    assert cache_effect.together([other]) == NOBODY


def test_most_pods_that_have_measured_decide() -> None:
    found = cache_effect.together([Reading(one) for one in (COSTS, EARLY, PAYS, PAYS)] + [SILENT])
    assert found == ("True", "Effective", f"In 2 of 3 pods: {PAYS.message}")
    assert cache_effect.together([Reading(COSTS), Reading(PAYS)]).status == "True"
    assert cache_effect.together([Reading(EARLY), Reading(COSTS)]) == COSTS


def test_where_nobody_answers_nothing_is_known() -> None:
    assert cache_effect.together([SILENT, SILENT]) == (
        "Unknown",
        "SidecarsUnreachable",
        "None of the 2 pods answers the operator on the sidecar's port 9090, so nobody knows whether the cache pays.",
    )
    assert cache_effect.together([SILENT]).message.startswith("The pod does not answer the operator")
    assert cache_effect.together([]) == NOBODY


def test_the_verdict_moves_after_three_equal_readings() -> None:
    assert after(Course(PAYS), COSTS, COSTS).settled == PAYS
    assert after(Course(PAYS), COSTS, COSTS, COSTS).settled == COSTS
    assert after(Course(), EARLY, EARLY).settled is None


def test_readings_that_differ_begin_the_count_again() -> None:
    assert after(Course(PAYS), COSTS, COSTS, PAYS, COSTS, COSTS).settled == PAYS
    assert after(Course(PAYS), COSTS, EARLY, COSTS, EARLY, COSTS).settled == PAYS


def test_other_numbers_in_the_same_verdict_change_nothing() -> None:
    later = PAYS._replace(message="The cache pays: a hit ratio of 61.0%.")
    assert after(Course(PAYS), later, later, later).settled == PAYS


def test_a_verdict_is_taken_over_from_the_status_but_not_what_is_none() -> None:
    assert cache_effect.known("Effective", "m") == ("True", "Effective", "m")
    assert cache_effect.known("SidecarsUnreachable", "m") == ("Unknown", "SidecarsUnreachable", "m")
    for reason in (None, "Disabled", "NotDeterministic", "NotJudged"):
        assert cache_effect.known(reason, "m") is None
