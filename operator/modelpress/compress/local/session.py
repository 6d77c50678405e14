"""One run: compress, measure every candidate, judge, serve the winner behind the sidecar, and report."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

from modelpress.api import request as requests
from modelpress.api.resource import CompressedModel
from modelpress.compress import engine, prefetch
from modelpress.compress.local import anchoring, processes
from modelpress.compress.local.workspace import workspace
from modelpress.compress.report.document import Report
from modelpress.storage import location, staging
from modelpress.telemetry.progress import Progress

STORE = ".modelpress"
"""Beside the file, where neither an option nor the file names a store."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user may set beside the file."""

    file: Path
    store: str | None = None
    grpc_port: int | None = None
    """None: 8500 if free, else any."""
    rest_port: int | None = None
    """None: 8501 if free, else any."""


@contextlib.contextmanager
def session(options: Options, progress: Progress) -> Iterator[Report]:
    """Do the run; while the block lasts, what the report says is served is served.

    Raises Invalid for bad input; finished parts stay in the store and are reused by the next run.
    """
    began = time.monotonic()
    # A taken port is refused now, before minutes of work, and looked at again then: not all programs ask first.
    processes.chosen(options.grpc_port, options.rest_port)
    resource, reported = anchoring.load(options.file)
    for problem in reported:
        progress.say(f"Note: {problem}")
    request = requests.of_resource(resource, store=store(options, resource))
    common = prefetch.rows(request)
    compressed = engine.compress(request, progress=progress, now=int(time.time()))
    prefetch.write(request, compressed.manifest, common, progress=progress)
    # TensorFlow and matplotlib, which nobody with bad input should wait for.
    from modelpress.compress.local.stages import Stages
    from modelpress.compress.report import page

    with contextlib.ExitStack() as stack:
        work = stack.enter_context(workspace())
        stages = Stages(resource, request, compressed, work, options.file.resolve().parent, progress)
        report = stages.judged(tuple(str(problem) for problem in reported))
        if report.decision.serves != "Nothing":
            ports = processes.chosen(options.grpc_port, options.rest_port)
            report = stack.enter_context(stages.served(report, ports))
        report = report.model_copy(update={"seconds": round(time.monotonic() - began, 1)})
        page.write(report, compressed.directory)
        yield report


def store(options: Options, resource: CompressedModel) -> str:
    if options.store is not None:
        return (
            options.store if staging.is_remote(options.store) else str(location.resolve(options.store, field="--store"))
        )
    if resource.spec.artifacts is not None and resource.spec.artifacts.uri is not None:
        return resource.spec.artifacts.uri
    return str(options.file.resolve().parent / STORE)
