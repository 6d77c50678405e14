"""All objects of a model as they would be without a cluster; what depends on results is assumed, and said so."""

from __future__ import annotations

from typing import NamedTuple

from modelpress.api import request as requests
from modelpress.api.artifact import Form
from modelpress.api.resource import CompressedModel
from modelpress.kube.kinds import Manifest
from modelpress.manifests import children, jobs, names, scaling, store
from modelpress.manifests.installation import Installation
from modelpress.manifests.measured import MeasuredWith
from modelpress.manifests.served import SOURCE, Served, candidate

UNKNOWN = "known-after-compression"


class Section(NamedTuple):
    """Objects that appear together, and when."""

    note: str
    """Sentences for people."""
    manifests: tuple[Manifest, ...]


class Assumed(NamedTuple):
    """What only compression can tell."""

    artifact: str = UNKNOWN
    """Artifact key."""
    digest: str = UNKNOWN
    """Content digest of the candidate."""
    form: Form = "TFLite"


def of(model: CompressedModel, installation: Installation, assumed: Assumed) -> tuple[Section, ...]:
    """At once; after compression; after a candidate has passed its gate."""
    request = requests.of_resource(model, store=store.uri(model, installation))
    key = requests.request_key(request)
    measured = _served(model, installation, request.store, assumed)
    served = measured._replace(prefetch=requests.prefetch_key(request))
    source = measured._replace(servable=SOURCE, digest=UNKNOWN, form="SavedModel")
    evaluate = jobs.evaluate(model, request, UNKNOWN, installation, source=source, candidate=measured, index=1)
    evaluate["metadata"]["name"] = f"{model.metadata.name}-evaluate-{UNKNOWN}"
    replicas = None if scaling.is_autoscaled(model) else model.spec.serving.replicas
    return (
        Section(
            f"At once: what Jobs stand on, and the Job that compresses. Results go to {request.store}.",
            (
                *children.foundations(model, installation),
                jobs.compress(model, request, key, installation),
            ),
        ),
        Section(
            "After compression, for one candidate at a time: the Job that measures it beside the source. Its name and"
            f" its digests are known then; the candidate is assumed to be number 1, in the form {assumed.form}.",
            (evaluate,),
        ),
        Section(
            "After a candidate has passed its gate: what serves it. Its digest and its form"
            f" ({assumed.form} assumed, which decides on --prefer_tflite_model) come from compression.",
            tuple(children.servers(model, served, installation, replicas=replicas)),
        ),
    )


def _served(model: CompressedModel, installation: Installation, location: str, assumed: Assumed) -> Served:
    serving = model.spec.serving
    return Served(
        store=location.rstrip("/"),
        artifact=assumed.artifact,
        servable=candidate(1),
        digest=assumed.digest,
        form=assumed.form,
        image=serving.image or installation.server(serving.resources),
        sidecar_image=installation.sidecar_image,
        measured=MeasuredWith.wanted(model),
    )


def name_of(model: CompressedModel) -> str:
    """Namespace and name, for headings."""
    return f"{names.namespace(model)}/{model.metadata.name}"
