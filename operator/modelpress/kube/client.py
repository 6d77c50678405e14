"""A thin, untyped client: manifests in, live objects out, on the official package's configuration and connection."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from kubernetes.aio import client as official
from kubernetes.aio import config as official_config

from modelpress import __version__
from modelpress.kube import kinds
from modelpress.kube.kinds import Kind, Manifest
from modelpress.telemetry import metrics

log = logging.getLogger(__name__)

MANAGER = "modelpress"
REQUEST_TIMEOUT_SECONDS = 30.0
LIST_CHUNK = 500
WARNINGS_REMEMBERED = 1_000
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=1,application/json"
_FINAL = frozenset({400, 403, 405, 413, 415, 422})
_NOT_IN_SCHEMA = "failed to create typed patch object"


class ApiError(Exception):
    """The API server's refusal: HTTP status, and the `reason` and `message` of its Status object."""

    def __init__(self, status: int, body: Manifest, retry_after: float | None = None) -> None:
        self.status = status
        self.reason: str = body.get("reason") or ""
        self.message: str = body.get("message") or ""
        self.causes: list[Manifest] = (body.get("details") or {}).get("causes") or []
        self.retry_after = retry_after
        """Seconds that the server asks to wait, or None."""
        super().__init__(f"{status} {self.reason}: {self.message[:500]}")  # a 422 may hold whole objects

    @property
    def is_final(self) -> bool:
        """Trying again cannot help: our request is wrong, or the CRD is older than we are (that one comes as 500)."""
        return self.status in _FINAL or self.message.startswith(_NOT_IN_SCHEMA)

    @property
    def is_namespace_going(self) -> bool:
        """Nothing can be created because the namespace is being deleted."""
        return any(cause.get("reason") == "NamespaceTerminating" for cause in self.causes)


class Cluster:
    """One API server, as one identity and field manager. Raises ApiError, or aiohttp's and asyncio's errors."""

    def __init__(self, api: official.ApiClient, manager: str = MANAGER) -> None:
        self._api = api
        self.manager = manager
        self._warned: set[tuple[str, str]] = set()

    @property
    def configuration(self) -> Any:
        """The official package's Configuration: host, certificates, tokens."""
        return self._api.configuration

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """The live object, or None where there is none."""
        return await self.read(kinds.named(kind).path(namespace, name))

    async def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = "", names_only: bool = False
    ) -> list[Manifest]:
        """Every live object of a namespace (None: of the cluster), in chunks; `names_only` brings only metadata."""
        entry = kinds.named(kind)
        items: list[Manifest] = []
        query: dict[str, str] = {"limit": str(LIST_CHUNK)}
        query |= ({"labelSelector": labels} if labels else {}) | ({"fieldSelector": fields} if fields else {})
        while True:
            accept = NAMES_ONLY if names_only else ""
            page = await self.request("GET", entry.path(namespace), query=query, accept=accept)
            items += [{**item, "apiVersion": entry.api_version, "kind": kind} for item in page.get("items") or ()]
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return items
            query = {**query, "continue": following}

    async def read(self, path: str) -> Manifest | None:
        """What lies at a path, or None where nothing does."""
        try:
            return await self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, manifest: Manifest, *, subresource: str = "") -> Manifest:
        """POST; 409 AlreadyExists is an ApiError. Our children are made by `apply`, never by this."""
        entry, metadata = kinds.named(manifest["kind"]), manifest.get("metadata") or {}
        name = metadata.get("name") if subresource else None
        path = entry.path(metadata.get("namespace"), name) + subresource
        return await self.request("POST", path, manifest, query={"fieldManager": self.manager})

    async def replace(self, manifest: Manifest) -> Manifest:
        """PUT; with `metadata.resourceVersion` a 409 says that somebody was faster."""
        return await self.request("PUT", path_of(manifest), manifest, query={"fieldManager": self.manager})

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply: what we send becomes ours, what we stop sending goes. Returns the live object."""
        return await self._apply(manifest, "", self.manager, force=True)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Server-side apply of `status` by its own manager; an empty status is refused by the server."""
        return await self._apply(manifest, "/status", f"{self.manager}-status", force=True)

    async def hand_over(self, manifest: Manifest, to: str) -> None:
        """Let another manager own these fields as they are; a 409 says somebody owns them already, which is as good."""
        try:
            await self._apply(manifest, "", to, force=False)
        except ApiError as error:
            if error.status != 409:
                raise

    async def merge(self, manifest: Manifest, *, subresource: str = "") -> Manifest:
        """JSON merge patch: replaces lists whole."""
        path = path_of(manifest) + subresource
        return await self.request("PATCH", path, manifest, MERGE, query={"fieldManager": self.manager})

    async def delete(self, live: Manifest, *, grace_seconds: int | None = None) -> None:
        """Delete exactly this object (by uid), its dependents in the background; gone already is as good."""
        body: Manifest = {"propagationPolicy": "Background"}
        if uid := live["metadata"].get("uid"):
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            await self.request("DELETE", path_of(live), body)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def _apply(self, manifest: Manifest, subresource: str, manager: str, *, force: bool) -> Manifest:
        query = {"fieldManager": manager, "force": str(force).lower()}
        return await self.request("PATCH", path_of(manifest) + subresource, manifest, APPLY, query=query)

    async def request(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        content_type: str = "application/json",
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "",
    ) -> Manifest:
        """One request; the decoded answer, or ApiError."""
        call = await self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept or "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        response = await self._api.call_api(*call, _request_timeout=REQUEST_TIMEOUT_SECONDS)
        raw: bytes = await response.read()  # type: ignore[no-untyped-call]
        metrics.API_REQUESTS.labels(code=str(response.status), method=method).inc()
        self._warn(response.headers.getall("Warning", []), path)
        answer: Manifest = json.loads(raw) if raw[:1] == b"{" else {"message": raw.decode(errors="replace")}
        if response.status >= 400:
            raise ApiError(response.status, answer, _seconds(response.headers.get("Retry-After")))
        return answer

    def _warn(self, warnings: Sequence[str], path: str) -> None:
        """Pod Security violations and deprecations come only in this header; each is logged once."""
        for warning in warnings:
            if (path, warning) not in self._warned:
                if len(self._warned) >= WARNINGS_REMEMBERED:
                    self._warned.clear()
                self._warned.add((path, warning))
                log.warning("API server warns", extra={"path": path, "warning": warning})


def path_of(manifest: Manifest) -> str:
    """Path of an object by its kind, namespace and name."""
    metadata = manifest["metadata"]
    entry: Kind = kinds.named(manifest["kind"])
    return entry.path(metadata.get("namespace"), metadata["name"])


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isdigit() else None


@contextlib.asynccontextmanager
async def connect(
    kubeconfig: str | None = None, *, manager: str = MANAGER, user_agent: str = f"modelpress/{__version__}"
) -> AsyncIterator[Cluster]:
    """A Cluster from this kubeconfig; absent: `KUBECONFIG`, else the pod's service account, else ~/.kube/config."""
    configuration = official.Configuration()
    chosen = kubeconfig or os.environ.get("KUBECONFIG")
    if chosen or "KUBERNETES_SERVICE_HOST" not in os.environ:
        await official_config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=chosen, client_configuration=configuration
        )
    else:
        official_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with official.ApiClient(configuration) as api:
        api.user_agent = user_agent
        yield Cluster(api, manager)
