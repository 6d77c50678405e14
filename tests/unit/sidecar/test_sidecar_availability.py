"""Ready means that the server's status says AVAILABLE, whatever else it says, and in whatever words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelpress.sidecar import availability


def entry(version: int, state: str, **more: Any) -> dict[str, Any]:
    return {"version": str(version), "state": state, "status": {"error_code": "OK", "error_message": ""}, **more}


def status(*entries: Any, code: int = 200) -> availability.Status:
    return availability.parse(code, json.dumps({"model_version_status": entries}).encode())


@pytest.mark.parametrize("state", ["UNKNOWN", "START", "LOADING", "UNLOADING", "END"])
def test_an_answer_of_200_is_not_enough(state):
    assert not status(entry(3, state)).ready


def test_a_version_that_failed_says_why():
    failed = entry(3, "END", status={"error_code": "UNKNOWN", "error_message": "no such op"})
    assert status(failed) == ((), "Version 3 is END: no such op")


def test_an_available_version_is_ready_beside_one_that_has_ended():
    found = status(entry(2, "END"), entry(3, "AVAILABLE"))
    assert (found.ready, found.version) == (True, 3)


def test_two_available_versions_answer_but_which_of_them_is_not_beyond_doubt():
    found = status(entry(3, "AVAILABLE"), entry(4, "AVAILABLE"))
    assert (found.ready, found.version) == (True, None)


def test_an_error_is_passed_on():
    found = availability.parse(404, b'{"error": "Could not find any versions of model m"}')
    assert found == ((), "The model server answers 404: Could not find any versions of model m")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"1", b"null", b"{}", b'{"model_version_status": 1}', b'{"model_version_status": [1]}',
        b'{"model_version_status": [{"version": "x", "state": "AVAILABLE"}]}',
        b'{"model_version_status": [{"version": "1", "state": "END", "status": "x"}]}', b"[" * 100_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("code", [200, 500])
def test_what_cannot_be_read_is_not_ready(body, code):
    found = availability.parse(code, body)
    assert not found.ready
    assert found.message
