"""Several pods that train one model: an Indexed Job whose pods find each other by name and shut everybody else out."""

from __future__ import annotations

from typing import Any

from modelpress.api.errors import Problem
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import NETWORK_POLICY, SERVICE, Manifest
from modelpress.manifests import labels, metadata, names, store
from modelpress.manifests.installation import Installation

ADDRESSES_VARIABLE = "MODELPRESS_WORKERS"
"""Addresses `host:port` of all workers, in the order of their indexes."""
PORT = 2222
"""Where each worker's TensorFlow server listens."""


def are_several(model: CompressedModel) -> bool:
    """Whether the compress Job has more than one pod."""
    return model.spec.jobs.workers > 1


def refusals(model: CompressedModel, installation: Installation) -> tuple[Problem, ...]:
    """Several workers on a volume that one node can mount: those on other nodes would never start."""
    if not are_several(model) or not store.is_on_one_node(model, installation):
        return ()
    message = (
        f"{model.spec.jobs.workers} is more than one, and all workers read and write the store, but this model's is a"
        " ReadWriteOnce volume of its own, which one node can mount: set artifacts.uri, e.g. pvc://models/artifacts, or"
        " artifacts.volume.accessMode: ReadWriteMany"
    )
    return (Problem("spec.jobs.workers", message),)


def job_fields(model: CompressedModel) -> dict[str, Any]:
    """Fields of an Indexed Job's spec; empty for one worker.

    One worker that goes away takes the others with it (`WorkerLost`), and each of them counts as a failed pod.
    """
    count = model.spec.jobs.workers
    if not are_several(model):
        return {}
    together = {"completionMode": "Indexed", "completions": count, "parallelism": count}
    return {**together, "backoffLimit": model.spec.jobs.retries * count}


def environment(model: CompressedModel, job: str) -> dict[str, str]:
    """Of a worker of this Job; its own number is set by Kubernetes (`JOB_COMPLETION_INDEX`)."""
    if not are_several(model):
        return {}
    domain = f"{names.workers(model)}.{names.namespace(model)}.svc"
    hosts = [f"{job}-{index}.{domain}:{PORT}" for index in range(model.spec.jobs.workers)]
    return {ADDRESSES_VARIABLE: ",".join(hosts)}


def container_fields(model: CompressedModel) -> dict[str, Any]:
    """What the container of a worker has beside that of a single one."""
    ports = [{"name": "workers", "containerPort": PORT, "protocol": "TCP"}]
    return {"ports": ports} if are_several(model) else {}


def pod_fields(model: CompressedModel) -> dict[str, Any]:
    """The domain of the pods' names; a pod's host name, `<job>-<index>`, is set by Kubernetes."""
    return {"subdomain": names.workers(model)} if are_several(model) else {}


def service(model: CompressedModel) -> Manifest | None:
    """Headless: gives the workers their names, also before they are ready."""
    if not are_several(model):
        return None
    spec = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": labels.compress_selector(model),
        "ports": [{"name": "workers", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
    }
    return metadata.manifest(SERVICE, names.workers(model), model, "compress", spec=spec)


def network_policy(model: CompressedModel) -> Manifest | None:
    """Workers hear from each other only, because TensorFlow asks nobody who they are; on any port, as NCCL wants."""
    if not are_several(model) or model.spec.serving.network_policy == "None":
        return None
    each_other = {"podSelector": {"matchLabels": labels.compress_selector(model)}}
    spec = {**each_other, "policyTypes": ["Ingress"], "ingress": [{"from": [each_other]}]}
    return metadata.manifest(NETWORK_POLICY, names.workers(model), model, "compress", spec=spec)
