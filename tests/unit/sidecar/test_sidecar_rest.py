"""Real HTTP clients, a sidecar and an HTTP server."""

from __future__ import annotations

import asyncio
import json

import pytest

PATH = "/v1/models/m:predict"
PINNED = "/v1/models/m/versions/7:predict"
"""What the model server is asked: by the version under whose key the answer is kept."""


@pytest.fixture
def post(http):
    """Posts a body to a sidecar; status, headers and text of the answer."""

    async def do(sidecar, body, path=PATH, **options):
        async with http.post(f"http://127.0.0.1:{sidecar.rest.port}{path}", data=body, **options) as response:
            return response.status, response.headers, await response.text()

    return do


async def test_a_repeated_question_is_answered_without_the_model(sidecar, upstream, post, outcomes):
    first, second = [await post(sidecar, b'{"instances": [1, 2]}') for _ in range(2)]
    assert (first[0], first[2]) == (second[0], second[2])
    assert first[1]["Content-Type"] == second[1]["Content-Type"]
    assert upstream.calls[PINNED] == 1
    assert outcomes(sidecar, "rest") == {"requests": 2, "hits": 1, "misses": 1}


async def test_white_space_makes_no_other_question(sidecar, upstream, post):
    await post(sidecar, b'{"instances": [1, 2]}')
    await post(sidecar, b'{ "instances":[1,2] }\n')
    assert upstream.calls[PINNED] == 1


async def test_row_and_columnar_form_have_their_own_answers(sidecar, upstream, post):
    row, columnar = await post(sidecar, b'{"instances": [1]}'), await post(sidecar, b'{"inputs": [1]}')
    assert row[2] != columnar[2]
    assert upstream.calls[PINNED] == 2


async def test_the_version_that_answers_may_be_named_and_paths_ignore_case(sidecar, upstream, post):
    await post(sidecar, b'{"instances": [1]}')
    await post(sidecar, b'{"instances": [1]}', "/v1/models/m/versions/7:predict")
    await post(sidecar, b'{"instances": [1]}', "/V1/Models/m:Predict")
    assert upstream.calls.total() == 1


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/v1/models/m/versions/8:predict", "OtherVersion"),
        ("/v1/models/m/versions/99999999999999999999:predict", "OtherVersion"),
        ("/v1/models/m/labels/stable:predict", "VersionLabel"),
        ("/v1/models/other:predict", "OtherModel"),
        ("/v1/models/m:predict?a=b", "Query"),
        ("/v1/models/m:classify", "NotCacheable"),
        ("/v1/models/m:regress", "NotCacheable"),
    ],
)
async def test_what_is_not_ours_to_answer_passes_through_every_time(path, reason, sidecar, upstream, post, outcomes):
    for _ in range(2):
        _, _, text = await post(sidecar, b'{"instances": [1]}', path)
        assert json.loads(text)["path"] == path
    assert upstream.calls.total() == 2
    assert outcomes(sidecar, "rest") == {"requests": 2, "bypassed": {reason: 2}}


async def test_a_compressed_body_passes_through(sidecar, upstream, post, outcomes):
    for _ in range(2):
        await post(sidecar, b"\x1f\x8b", headers={"Content-Encoding": "identity"})
    assert outcomes(sidecar, "rest")["bypassed"] == {"Compressed": 2}


@pytest.mark.parametrize(
    "path", ["/v1/models/m/metadata", "/v1/models/m/versions/7/metadata", "/monitoring/prometheus/metrics"]
)
async def test_gets_pass_through(path, sidecar, http):
    async with http.get(f"http://127.0.0.1:{sidecar.rest.port}{path}") as response:
        assert json.loads(await response.text()) | {"sha256": ""} == {
            "method": "GET",
            "path": path,
            "body": "",
            "sha256": "",
        }


async def test_the_status_of_the_model_is_the_servers(sidecar, http):
    async with http.get(f"http://127.0.0.1:{sidecar.rest.port}/v1/models/m") as response:
        assert (await response.json())["model_version_status"][0]["state"] == "AVAILABLE"


async def test_errors_pass_through_with_status_and_text_and_are_not_kept(sidecar, upstream, post):
    upstream.error = (None, "Servable not found for request: Latest(m)")
    status, _, text = await post(sidecar, b'{"instances": [1]}')
    assert (status, json.loads(text)) == (400, {"error": upstream.error[1]})
    upstream.error = None
    assert (await post(sidecar, b'{"instances": [1]}'))[0] == 200


async def test_a_body_over_the_limit_is_refused(start, upstream, post, outcomes):
    sidecar = await start({"maxBodyBytes": 1000})
    status, _, text = await post(sidecar, b"x" * 100_000)
    assert (status, json.loads(text)) == (413, {"error": "The request is larger than 1000 bytes"})
    assert outcomes(sidecar, "rest")["refused"] == {"TooLarge": 1}
    assert not upstream.calls


async def test_over_the_queue_there_is_429_and_when_to_come_again(start, upstream, post, until):
    sidecar = await start({"concurrency": {"limit": 1, "queueDepth": 0}})
    upstream.gate.clear()
    busy = asyncio.ensure_future(post(sidecar, b'{"instances": [1]}'))
    await until(lambda: upstream.running == 1)
    status, headers, text = await post(sidecar, b'{"instances": [2]}')
    assert status == 429
    assert int(headers["Retry-After"]) >= 1
    assert "no more may wait" in json.loads(text)["error"]
    upstream.gate.set()
    assert (await busy)[0] == 200


async def test_the_request_timeout_is_504(start, upstream, post):
    sidecar = await start({"requestTimeoutSeconds": 0.1})
    upstream.gate.clear()
    assert (await post(sidecar, b'{"instances": [1]}'))[0] == 504


async def test_a_client_that_hangs_up_in_line_never_reaches_the_model(start, upstream, post, until, outcomes):
    sidecar = await start({"concurrency": {"limit": 1}})
    upstream.gate.clear()
    busy = asyncio.ensure_future(post(sidecar, b'{"instances": [1]}'))
    await until(lambda: upstream.running == 1)
    _, writer = await asyncio.open_connection("127.0.0.1", sidecar.rest.port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    await until(lambda: sidecar.pipeline.limiter.queued == 1)
    writer.close()
    await writer.wait_closed()
    upstream.gate.set()
    await busy
    await until(lambda: outcomes(sidecar, "rest").get("refused"))
    assert outcomes(sidecar, "rest")["refused"] == {"ClientGone": 1}
    assert upstream.calls[PINNED] == 1


async def test_without_a_server_there_is_503_with_its_address(start, upstream, post):
    sidecar = await start()
    port = upstream.rest_port
    await upstream.stop()
    status, _, text = await post(sidecar, b'{"instances": [1]}')
    assert status == 503
    assert f"127.0.0.1:{port}" in json.loads(text)["error"]


async def test_a_version_that_changes_under_a_request_never_answers_for_the_one_before(
    sidecar, upstream, post, outcomes
):
    assert sidecar.availability.version == 7
    upstream.version = 8  # nobody has told the sidecar
    upstream.serves_only_its_version = True
    status, _, text = await post(sidecar, b'{"instances": [1]}')
    assert (status, json.loads(text)["path"]) == (200, PATH)
    assert upstream.calls == {PINNED: 1, PATH: 1}
    assert len(sidecar.pipeline.memory) == 0
    await sidecar.availability.refresh()
    await post(sidecar, b'{"instances": [1]}')
    await post(sidecar, b'{"instances": [1]}')
    assert upstream.calls["/v1/models/m/versions/8:predict"] == 1
    assert outcomes(sidecar, "rest") == {"requests": 3, "misses": 2, "hits": 1}


async def test_a_version_that_changes_while_the_model_works_is_not_kept_under_either(sidecar, upstream, post, until):
    upstream.gate.clear()
    asked = asyncio.ensure_future(post(sidecar, b'{"instances": [1]}'))
    await until(lambda: upstream.running == 1)
    upstream.version = 8
    await sidecar.availability.refresh()
    upstream.gate.set()
    assert (await asked)[0] == 200
    assert len(sidecar.pipeline.memory) == 0
