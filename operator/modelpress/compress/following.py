"""What workers other than the first do: the same steps in the same order, so that training meets in its collectives."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelpress.api import request as requests
from modelpress.api.message import Message
from modelpress.api.request import Request
from modelpress.compress import dataset, inspection, plan, source
from modelpress.compress.steps.students import reading
from modelpress.compress.training import crew
from modelpress.compress.work import Piece, WorkArea
from modelpress.storage import layout
from modelpress.telemetry.progress import Progress


class FollowedArea(WorkArea):
    """An area of its own that begins where the chief's is: what the chief had finished is not done again."""

    def __init__(self, directory: Path, chief: WorkArea) -> None:
        super().__init__(directory)
        self._chief = chief

    def piece(self, name: str, build: Callable[[Path], dict[str, Any]]) -> Piece:
        """The chief's piece if it is whole, else one of its own."""
        return self._chief.found(name) or super().piece(name, build)


def follow(request: Request, *, progress: Progress) -> Message:
    """Trains along with the chief and keeps nothing. Raises Invalid as `engine.compress`, WorkerLost."""
    wanted = plan.of_recipe(request.recipe, device=request.target.device)
    if not crew.trains_together(wanted):
        return Message(outcome="Done", message="nothing in this recipe is trained by several workers")
    store = layout.opened(request.store, request.namespace)
    digests = dataset.digests(request.data) | reading.digests(request.recipe, request.source)
    found = source.find(request.source, progress=progress)
    key = requests.artifact_key(request, source_digest=found.digest, data_digests=digests)
    if store.manifest(key) is not None:
        return Message(outcome="Done", message="the artifact is complete", artifact=key)
    rows = inspection.inspected(request, found, digests)
    from modelpress.compress import bench as benches
    from modelpress.compress.training import workers

    workers.join()
    with tempfile.TemporaryDirectory(prefix="modelpress-worker-") as directory:
        area = FollowedArea(Path(directory), WorkArea(store.work(key), store))
        bench = benches.prepared(request, wanted, found, rows, area, progress)
        bench.versions.after(wanted.changes)
    return Message(outcome="Done", message="trained along with worker 0", artifact=key)
