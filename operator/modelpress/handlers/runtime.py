"""Kopf, tuned and embedded: it watches, and stops when told to."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from typing import Any

import kopf

from modelpress.api.base import GROUP
from modelpress.kube import kinds
from modelpress.kube.client import Cluster


class _GenerationOnly(kopf.AnnotationsDiffBaseStorage):
    """Unused as long as nobody registers a change handler; then it keeps copies of whole specs out of annotations."""

    def build(self, *, body: kopf.Body, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({"metadata": {"generation": body["metadata"].get("generation")}})  # type: ignore[typeddict-unknown-key]


def settings() -> kopf.OperatorSettings:
    """Kopf's settings for an informer that never writes."""
    tuned = kopf.OperatorSettings()
    tuned.peering.standalone = True  # the Lease elects
    tuned.posting.enabled = False  # we record Events ourselves
    tuned.scanning.disabled = True  # needs no rights on CRDs and namespaces
    tuned.networking.connect_timeout = 5
    tuned.networking.request_timeout = 30
    tuned.watching.connect_timeout = 5
    tuned.watching.chunk_size = 500
    tuned.watching.initial_streaming = False  # loses objects when the first stream breaks
    for kind in kinds.OWNED:  # tuples: a string with slashes matches nothing, silently
        selector = f"{kinds.MANAGED_BY_LABEL}={kinds.MANAGED_BY}"
        tuned.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
    tuned.queueing.worker_limit = None  # a limit below the number of objects is a deadlock with indexes
    tuned.queueing.error_delays = (1, 2, 5, 10, 30, 60)
    tuned.process.ultimate_exiting_timeout = 25
    tuned.persistence.finalizer = f"{GROUP}/finalizer"
    tuned.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP, v1=False)
    tuned.persistence.diffbase_storage = _GenerationOnly(prefix=GROUP, v1=False)
    return tuned


def use_identity(registry: kopf.OperatorRegistry, cluster: Cluster) -> None:
    """Let kopf be whoever our client is; asked again when the API server refuses an expired token."""

    @kopf.on.login(id="identity-of-our-client", registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        configuration = cluster.configuration
        bearer = (await configuration.auth_settings()).get("BearerToken", {}).get("value", "")
        scheme, _space, token = bearer.rpartition(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            scheme=scheme or None,
            token=token or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            proxy_url=configuration.proxy,
            trust_env=True,
        )


async def watch(
    registry: kopf.OperatorRegistry,
    namespaces: Sequence[str],
    tuned: kopf.OperatorSettings,
    end: Callable[[], object],
) -> None:
    """Watch until cancelled; empty `namespaces` means all. SIGTERM and SIGINT call `end`.

    Every task of ours has to exist before this is called: kopf waits five seconds for younger ones when it ends.
    """
    ours = asyncio.all_tasks()
    spawned = await kopf.spawn_tasks(
        registry=registry,
        settings=tuned,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
    )

    def quietly() -> None:
        """Kopf closes its session under requests on their way, and tells of each at length."""
        logging.getLogger("kopf").setLevel(logging.CRITICAL)
        end()

    on_signals(quietly)  # in place of kopf's, which would let it fail half-started, or end in five seconds only
    await kopf.run_tasks(spawned, ignored=ours)


def on_signals(end: Callable[[], object]) -> None:
    """Call `end` on SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
