"""Models and servables to build manifests from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modelpress.api.request import Request, of_resource
from modelpress.api.resource import CompressedModel
from modelpress.manifests.installation import Installation
from modelpress.manifests.measured import MeasuredWith
from modelpress.manifests.served import Served

INSTALLATION = Installation(
    compressor_image="reg/compressor:1", sidecar_image="reg/sidecar:1", server_image="tensorflow/serving:2.20.0"
)

Make = Callable[..., CompressedModel]


@pytest.fixture
def a_model() -> Make:
    """Builds a resource; keyword arguments are blocks of its spec."""

    def make(*, annotations: dict[str, str] | None = None, **spec: Any) -> CompressedModel:
        return CompressedModel.model_validate(
            {
                "apiVersion": "modelpress.dev/v1alpha1",
                "kind": "CompressedModel",
                "metadata": {"name": "bert", "namespace": "nlp", "uid": "u-1", "annotations": annotations or {}},
                "spec": {"source": {"uri": "pvc://models/bert"}, **spec},
            }
        )

    return make


@pytest.fixture
def installation() -> Installation:
    return INSTALLATION


@pytest.fixture
def a_request() -> Callable[[CompressedModel], Request]:
    return lambda model: of_resource(model, store="pvc://bert-artifacts/")


@pytest.fixture
def a_servable() -> Callable[..., Served]:
    def make(model: CompressedModel | None = None, **more: Any) -> Served:
        facts: dict[str, Any] = {
            "store": "pvc://bert-artifacts/",
            "artifact": "ab" * 32,
            "servable": "candidates/1",
            "digest": "sha256:" + "cd" * 32,
            "form": "TFLite",
            "image": "tensorflow/serving:2.20.0",
            "sidecar_image": "reg/sidecar:1",
            "measured": MeasuredWith.wanted(model) if model else MeasuredWith(),
        }
        return Served(**(facts | more))

    return make
