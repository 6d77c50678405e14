"""Asking the sidecars of a model: through the API server's pod proxy, or straight at their administration ports.

The proxy needs the right `get` and `create` on `pods/proxy`, and an API server that reaches pods.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import aiohttp
from kubernetes.aio import config as official_config

from modelpress.kube import client
from modelpress.kube.client import ApiError, Cluster
from modelpress.kube.kinds import MODEL_LABEL, Manifest

CONTAINER, PORT = "sidecar", "admin"
DEFAULT_NAMESPACE = "default"
TIMEOUT_SECONDS = 60.0
"""A purge of a large disk takes its time."""


class NobodyThere(Exception):
    """There is no cluster, or no pod that could be asked."""


class Reading(NamedTuple):
    """What one sidecar said; `error` is empty where it did."""

    pod: str
    content: Mapping[str, Any]
    error: str = ""


async def ask_pods(name: str, namespace: str | None, kubeconfig: str | None, method: str, path: str) -> list[Reading]:
    """One reading for each serving pod of a model, by name. Raises NobodyThere."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            cluster = await stack.enter_async_context(client.connect(kubeconfig))
            where = namespace or await _namespace(kubeconfig)
            pods = await cluster.list("Pod", where, labels=f"{MODEL_LABEL}={name}")
        except (official_config.ConfigException, aiohttp.ClientError, ApiError) as error:
            raise NobodyThere(f"the cluster cannot be asked: {error}") from error
        serving = sorted((pod for pod in pods if admin_port(pod)), key=lambda pod: str(pod["metadata"]["name"]))
        if not serving:
            raise NobodyThere(f"no pod serves {name} in namespace {where}; see kubectl get cmodel -n {where}")
        return await asyncio.gather(*(_through_proxy(cluster, pod, method, path) for pod in serving))


async def ask_addresses(addresses: Iterable[str], method: str, path: str) -> list[Reading]:
    """One reading for each host:port."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return await asyncio.gather(*(_straight(session, address, method, path) for address in addresses))


def admin_port(pod: Manifest) -> int | None:
    """The administration port of the sidecar in a pod that is running; None where there is none."""
    if pod["metadata"].get("deletionTimestamp") or (pod.get("status") or {}).get("phase") != "Running":
        return None
    containers = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    ports = [port for one in containers if one["name"] == CONTAINER for port in one.get("ports") or ()]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == PORT), None)


def summary(state: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a sidecar's /state that tells of its cache."""
    cache, protocols = state["cache"], state["requests"].values()
    counts = {
        outcome: sum(protocol[outcome] for protocol in protocols)
        for outcome in ("requests", "hits", "misses", "coalesced")
    }
    reasons: dict[str, int] = {}
    for protocol in protocols:
        for reason, count in protocol["bypassed"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    return {
        "artifactDigest": state["artifactDigest"],
        "mode": cache["effectiveMode"],
        "policy": cache["effectivePolicy"],
        "hitRatio": cache["hitRatio"],
        **counts,
        "bypassed": reasons,
        "entries": cache["entries"],
        "bytes": cache["bytes"],
        "limitBytes": cache["limitBytes"],
        "tiers": cache["tiers"],
        "prefetch": cache["prefetch"],
        "effect": cache["effective"]["reason"],
    }


def total(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all pods; the hit ratio since their start, as their windows cannot be added up."""
    found = list(rows)
    counts = {name: sum(row[name] for row in found) for name in ("requests", "hits", "misses", "coalesced", "bytes")}
    ratio = counts["hits"] / counts["requests"] if counts["requests"] else 0.0
    return {**counts, "hitRatioSinceStart": round(ratio, 4)}


async def _through_proxy(cluster: Cluster, pod: Manifest, method: str, path: str) -> Reading:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    at, _, query = path.partition("?")
    parameters = dict(pair.split("=", 1) for pair in query.split("&")) if query else None
    proxy = f"/api/v1/namespaces/{namespace}/pods/{name}:{admin_port(pod)}/proxy{at}"
    try:
        return Reading(name, await cluster.request(method, proxy, query=parameters))
    except ApiError as error:
        return Reading(name, {}, str(error))
    except (OSError, TimeoutError, aiohttp.ClientError) as error:
        return Reading(name, {}, str(error) or type(error).__name__)


async def _straight(session: aiohttp.ClientSession, address: str, method: str, path: str) -> Reading:
    try:
        async with session.request(method, f"http://{address}{path}") as response:
            if response.status >= 400:
                return Reading(address, {}, f"{response.status}: {(await response.text()).strip()}")
            return Reading(address, await response.json())
    except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
        return Reading(address, {}, str(error) or type(error).__name__)


async def _namespace(kubeconfig: str | None) -> str:
    """Of the kubeconfig's context, as for kubectl."""
    try:
        _, active = official_config.list_kube_config_contexts(config_file=kubeconfig)  # type: ignore[no-untyped-call]
    except official_config.ConfigException:
        return DEFAULT_NAMESPACE  # in a pod there is no kubeconfig
    return str(active["context"].get("namespace") or DEFAULT_NAMESPACE)
