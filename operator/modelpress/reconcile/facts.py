"""What is known about a model when it is reconciled: one immutable picture, from the watched copies only."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pydantic

from modelpress.api import request as requests
from modelpress.api.errors import Problem
from modelpress.api.request import Request
from modelpress.api.resource import CompressedModel
from modelpress.api.status import Condition, Revision, Status
from modelpress.kube.kinds import Manifest
from modelpress.manifests import names, serving, store
from modelpress.manifests.installation import Installation
from modelpress.manifests.measured import MEASURED_WITH, MeasuredWith
from modelpress.reconcile.jobs import JobSeen
from modelpress.status import cache_effect, conditions
from modelpress.status.cache_effect import Effect


@dataclass(frozen=True)
class Facts:
    """Everything that decisions are made from."""

    model: CompressedModel
    now: dt.datetime
    installation: Installation
    manager: str
    """Our field manager."""
    refused: tuple[Problem, ...] = ()
    """Fields that this release cannot honour."""
    jobs: Mapping[str, JobSeen] = field(default_factory=dict)
    """Our Jobs by name."""
    deployment: Manifest | None = None
    autoscaler: Manifest | None = None
    pods: Sequence[Manifest] = ()
    """Serving pods."""
    cache_effect: Effect | None = None
    """What their sidecars have told; None: nothing beside what the status says."""

    @property
    def status(self) -> Status:
        """As it was last written."""
        return self.model.status or Status()

    @property
    def generation(self) -> int | None:
        return self.model.metadata.generation

    @functools.cached_property
    def request(self) -> Request:
        """What the Jobs are asked for."""
        return requests.of_resource(self.model, store=store.uri(self.model, self.installation))

    @functools.cached_property
    def key(self) -> str:
        """The request key R."""
        return requests.request_key(self.request)

    @property
    def inputs(self) -> str:
        """R, as `status.current.inputsDigest` has it."""
        return f"sha256:{self.key}"

    @property
    def compress_job(self) -> str:
        """Name of the Job that compresses what is wanted now."""
        return names.compress_job(self.model, self.key)

    @property
    def image(self) -> str:
        """The server that a new revision gets."""
        serving = self.model.spec.serving
        return serving.image or self.installation.server(serving.resources)

    @functools.cached_property
    def measured_with(self) -> MeasuredWith | None:
        """What the deployed revision was measured with; None where that is not known."""
        annotations = (self.deployment or {}).get("metadata", {}).get("annotations") or {}
        try:
            return MeasuredWith.from_json(annotations.get(MEASURED_WITH) or "")
        except pydantic.ValidationError:
            return None

    def sidecar_image(self, digest: str) -> str:
        """Of the pods that serve this servable already, so that an upgrade of the operator restarts nothing."""
        template = (self.deployment or {}).get("spec", {}).get("template", {})
        for container in template.get("spec", {}).get("initContainers") or ():
            if container["name"] == serving.SIDECAR and f"--artifact-digest={digest}" in container.get("command", ()):
                return str(container["image"])
        return self.installation.sidecar_image

    def prefetch(self, known: Revision) -> str | None:
        """Common requests for this revision: what its Job wrote, else what its pods have been given."""
        if known.inputs_digest == self.inputs:
            return requests.prefetch_key(self.request)
        template = (self.deployment or {}).get("spec", {}).get("template", {})
        commands = [container.get("command", ()) for container in template.get("spec", {}).get("initContainers") or ()]
        return next(
            (
                flag.removeprefix(serving.PREFETCH_FLAG)
                for command in commands
                for flag in command
                if f"--digest={known.digest}" in command and flag.startswith(serving.PREFETCH_FLAG)
            ),
            None,
        )

    def condition(self, type_: str) -> Condition | None:
        """A condition as it was last written."""
        return conditions.named(self.status.conditions, type_)

    def is_deterministic(self) -> bool:
        """What is remembered of the served model: an earlier CacheEffective=False NotDeterministic."""
        found = self.condition(cache_effect.TYPE)
        return found is None or found.reason != cache_effect.NOT_DETERMINISTIC

    def attempt(self) -> int:
        """Number of the revision that is being made from these inputs."""
        candidate = self.status.candidate
        if candidate and candidate.revision and candidate.inputs_digest == self.inputs:
            return candidate.revision
        return 1 + max((number for number in self._numbers()), default=0)

    def _numbers(self) -> list[int]:
        status = self.status
        places: list[Revision | None] = [status.current, status.candidate]
        numbers = [place.revision for place in places if place and place.revision]
        return [*numbers, *(past.revision for past in status.revisions)]
