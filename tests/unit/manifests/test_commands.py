"""What containers are told to run is what the programs understand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from modelpress.api.request import Request
from modelpress.api.resource import CompressedModel
from modelpress.cli import app
from modelpress.manifests import jobs, serving
from modelpress.manifests.installation import Installation
from modelpress.manifests.served import Served
from modelpress.server import flags

Make = Callable[..., CompressedModel]
SPEC: dict[str, Any] = {"serving": {"modelName": "m", "batching": {}}}


@pytest.fixture
def containers(
    a_model: Make,
    a_request: Callable[[CompressedModel], Request],
    a_servable: Callable[..., Served],
    installation: Installation,
) -> list[dict[str, Any]]:
    """All containers of all pods."""
    model = a_model(**SPEC)
    request, candidate = a_request(model), a_servable(model, deterministic=False)
    source = candidate._replace(servable="source", form="SavedModel")
    made = [
        jobs.compress(model, request, "0" * 64, installation),
        jobs.evaluate(model, request, "0" * 64, installation, source=source, candidate=candidate, index=1),
        serving.deployment(model, candidate, replicas=1),
    ]
    pods = [one["spec"]["template"]["spec"] for one in made]
    return [one for pod in pods for one in (*pod.get("initContainers", ()), *pod["containers"])]


def commands(containers: list[dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Program and arguments."""
    for container in containers:
        program, *arguments = container["command"]
        if program == "modelpress":
            yield arguments[0], arguments[1:]


def test_every_command_of_ours_is_understood(containers: list[dict[str, Any]]) -> None:
    program = typer.main.get_command(app)
    seen = set()
    for name, arguments in commands(containers):
        command = program.commands[name]  # type: ignore[attr-defined]
        command.make_context(name, list(arguments))
        seen.add(name)
    assert seen == {"compress", "evaluate", "fetch", "sidecar"}


def test_every_flag_of_the_server_is_one_that_it_has(containers: list[dict[str, Any]]) -> None:
    known = {flag.name: flag.standing for flag in flags.FLAGS}
    servers = [one["command"][4:] for one in containers if one["command"][0] == "/bin/bash"]
    assert len(servers) == 3
    for given in servers:
        for flag in given:
            name, separator, value = flag.removeprefix("--").partition("=")
            assert separator and value, flag
            assert known[name] == "honoured", flag
