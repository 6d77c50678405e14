"""All objects of a model, in the order in which they are applied."""

from __future__ import annotations

from modelpress.api.errors import Problem
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import Manifest
from modelpress.manifests import access, scaling, serving, sidecar_config, store, workers
from modelpress.manifests.installation import Installation
from modelpress.manifests.served import Served


def foundations(model: CompressedModel, installation: Installation) -> list[Manifest]:
    """What Jobs and servers stand on."""
    return _existing(
        access.service_account(model),
        store.volume_claim(model, installation),
        workers.network_policy(model),
        workers.service(model),
    )


def refusals(model: CompressedModel, installation: Installation) -> tuple[Problem, ...]:
    """What the API server cannot refuse, because only the operator knows the store of models that name none."""
    return (*scaling.refusals(model, installation), *workers.refusals(model, installation))


def servers(
    model: CompressedModel,
    served: Served,
    installation: Installation,
    *,
    replicas: int | None,
    failed_rollout: str | None = None,
) -> list[Manifest]:
    """Everything that serves one servable; `replicas` and `failed_rollout` as in `serving.deployment`."""
    return _existing(
        sidecar_config.sidecar_config(model),
        access.network_policy(model, installation),
        serving.deployment(model, served, replicas=replicas, failed_rollout=failed_rollout),
        serving.service(model),
        scaling.disruption_budget(model),
        scaling.autoscaler(model),
    )


def _existing(*manifests: Manifest | None) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest is not None]
