"""What an installation of the operator is to every model: its images, its store and its namespace."""

from __future__ import annotations

from typing import NamedTuple

from modelpress import __version__
from modelpress.api.pod import Resources
from modelpress.api.request import GPU

GPU_VARIANT = "-gpu"


class Installation(NamedTuple):
    """Used where a resource names nothing of its own."""

    compressor_image: str = f"modelpress/compressor:{__version__}"
    sidecar_image: str = f"modelpress/sidecar:{__version__}"
    server_image: str = "tensorflow/serving:2.20.0"
    default_store: str | None = None
    """URI of the store; None means a volume of each model's own."""
    namespace: str = "modelpress-system"
    """Where the operator runs."""

    def compressor(self, resources: Resources) -> str:
        """Image of Jobs with these resources: the GPU variant where their limits name a GPU."""
        return _variant(self.compressor_image, resources)

    def server(self, resources: Resources) -> str:
        """Image of servers with these resources: the GPU variant where their limits name a GPU."""
        return _variant(self.server_image, resources)


def _variant(image: str, resources: Resources) -> str:
    """A digest names one image only, so it has no variants."""
    return image + GPU_VARIANT if GPU in resources.limits and "@" not in image else image
