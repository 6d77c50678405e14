"""The two Jobs: compress, which makes an artifact, and evaluate, which measures one candidate through real servers."""

from __future__ import annotations

import math
from typing import Any

from modelpress.api import duration
from modelpress.api.message import EXIT_INVALID
from modelpress.api.pod import Resources
from modelpress.api.request import Request
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import JOB, Manifest
from modelpress.manifests import labels, metadata, names, pods, serving, store, workers
from modelpress.manifests.installation import Installation
from modelpress.manifests.served import Served
from modelpress.runtime import command

PROGRAM = "modelpress"
REQUEST_VARIABLE = "MODELPRESS_REQUEST"
COMPRESS, EVALUATE = "compress", "evaluate"
FETCHES = ("fetch-source", "fetch-candidate")
SOURCE_GRPC, SOURCE_REST, CANDIDATE_GRPC, CANDIDATE_REST = 8500, 8501, 8510, 8511
LOCALHOST = "127.0.0.1"
SERVERS = "/run/modelpress/servers"
"""Where `evaluate` finds the models of both servers, to put the constant-output model beside each."""
SHORTEST_LIFE_SECONDS = 60
"""A finished Job is kept at least so long: one that goes before its message was read would be made again and again."""


def compress(model: CompressedModel, request: Request, request_key: str, installation: Installation) -> Manifest:
    """Fetches, compresses, and reports ranked candidates; of several workers, number 0 does."""
    jobs, name = model.spec.jobs, names.compress_job(model, request_key)
    volumes, mounts = _data(model, request, roles=tuple(store.data_uris(model)))
    container = pods.container(
        model,
        COMPRESS,
        jobs.image or installation.compressor(jobs.resources),
        command=[PROGRAM, COMPRESS],
        resources=jobs.resources,
        env=_environment(request) | workers.environment(model, name),
        mounts=mounts,
        **workers.container_fields(model),
    )
    template = pods.template(
        model,
        "compress",
        identity=jobs.pod,
        placement=jobs.pod,
        own_image=jobs.image is None,
        containers=[container],
        init_containers=[],
        volumes=volumes,
        restartPolicy="Never",
        terminationGracePeriodSeconds=30,
        **workers.pod_fields(model),
    )
    return _job(model, name, "compress", (COMPRESS,), template, **workers.job_fields(model))


def evaluate(
    model: CompressedModel,
    request: Request,
    evaluation_key: str,
    installation: Installation,
    *,
    source: Served,
    candidate: Served,
    index: int,
) -> Manifest:
    """Measures candidate number `index` against the source, each in a server with the limits of the serving pods.

    The servers have no probes: one that cannot load its model is a verdict of `evaluate`, not a pod that never starts.
    """
    jobs = model.spec.jobs
    volumes, mounts = _data(model, request, roles=("source", "evaluation"))
    container = pods.container(
        model,
        EVALUATE,
        jobs.image or installation.compressor_image,
        command=[PROGRAM, EVALUATE, *_evaluate_flags(model, candidate, index)],
        resources=_client_resources(jobs.resources),
        env=_environment(request),
        mounts=[
            *mounts,
            *({"name": f"models-{role}", "mountPath": f"{SERVERS}/{role}"} for role in ("source", "candidate")),
        ],
    )
    models = [{"name": f"models-{role}", "emptyDir": {}} for role in ("source", "candidate")]
    template = pods.template(
        model,
        "evaluate",
        identity=jobs.pod,
        placement=model.spec.serving.pod,
        containers=[container],
        init_containers=[
            serving.fetch(model, source, name=FETCHES[0], models="models-source"),
            serving.fetch(model, candidate, name=FETCHES[1], models="models-candidate"),
            _server(model, source, "source", SOURCE_GRPC, SOURCE_REST),
            _server(model, candidate, "candidate", CANDIDATE_GRPC, CANDIDATE_REST),
        ],
        volumes=[*volumes, *models],
        restartPolicy="Never",
        shareProcessNamespace=True,
        terminationGracePeriodSeconds=30,
    )
    return _job(model, names.evaluate_job(model, evaluation_key), "evaluate", (EVALUATE, *FETCHES), template)


def _job(
    model: CompressedModel,
    name: str,
    component: labels.Component,
    programs: tuple[str, ...],
    template: dict[str, Any],
    **more: Any,
) -> Manifest:
    """`programs` are the containers whose word counts: bad input told by one of them is not tried again."""
    jobs = model.spec.jobs
    spec = {
        "backoffLimit": jobs.retries,
        "activeDeadlineSeconds": max(1, math.ceil(duration.seconds(jobs.timeout))),
        "ttlSecondsAfterFinished": max(SHORTEST_LIFE_SECONDS, math.ceil(duration.seconds(jobs.ttl_after_finished))),
        "podFailurePolicy": {
            "rules": [
                *(
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": program, "operator": "In", "values": [EXIT_INVALID]},
                    }
                    for program in programs
                ),
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": template,
        **more,
    }
    queue = {labels.QUEUE_LABEL: jobs.queue_name} if jobs.queue_name else None
    return metadata.manifest(JOB, name, model, component, more_labels=queue, spec=spec)


def _data(model: CompressedModel, request: Request, roles: tuple[str, ...]) -> tuple[list[Any], list[Any]]:
    """(volumes, mounts) of the store, writable, and of what these roles read."""
    read = {role: found for role, found in store.data_uris(model).items() if role in roles}
    claims, claim_mounts = store.claim_volumes([request.store], [location for location, _ in read.values()])
    references = {role: reference for role, (_, reference) in read.items()}
    secrets, secret_mounts = store.secret_volumes({**references, "artifacts": store.artifacts_secret(model)})
    return [*claims, *secrets], [*claim_mounts, *secret_mounts]


def _environment(request: Request) -> dict[str, str]:
    return {"HOME": pods.TMP, REQUEST_VARIABLE: request.json_line()}


def _client_resources(resources: Resources) -> Resources:
    """A CPU of its own, so that the client does not steal from the servers; memory as in compression, for the data."""
    requests = {"cpu": "1", **{name: amount for name, amount in resources.requests.items() if name == "memory"}}
    limits = {name: amount for name, amount in resources.limits.items() if name == "memory"}
    return Resources(requests=requests, limits=limits)


def _evaluate_flags(model: CompressedModel, candidate: Served, index: int) -> tuple[str, ...]:
    return (
        f"--artifact={candidate.artifact}",
        f"--candidate={index}",
        f"--model={names.served_model(model)}",
        f"--source-grpc={LOCALHOST}:{SOURCE_GRPC}",
        f"--source-rest={LOCALHOST}:{SOURCE_REST}",
        f"--candidate-grpc={LOCALHOST}:{CANDIDATE_GRPC}",
        f"--candidate-rest={LOCALHOST}:{CANDIDATE_REST}",
        f"--source-models={SERVERS}/source",
        f"--candidate-models={SERVERS}/candidate",
        f"--server-models={serving.MODELS}",
    )


def _server(model: CompressedModel, served: Served, role: str, grpc_port: int, rest_port: int) -> pods.Container:
    flags = serving.flags(model, served, rest_port=rest_port, grpc_port=grpc_port)
    return pods.container(
        model,
        f"server-{role}",
        served.image,
        command=command.replacing(flags),
        resources=model.spec.serving.resources,
        env=serving.batching_environment(served),
        mounts=[{"name": f"models-{role}", "mountPath": serving.MODELS, "readOnly": True}],
        restartPolicy="Always",
    )
