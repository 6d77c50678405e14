"""One version directory to a servable: which form, how many threads, warm-up."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from modelpress.server import batching, configs, protos, savedmodel, tflite, warmup
from modelpress.server.failure import Code, Failure
from modelpress.server.flags import Value, processors
from modelpress.server.metrics import Metrics
from modelpress.server.servable import Servable

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Loader:
    """Loads versions as the flags say; the loading of one never disturbs those that serve."""

    flags: Mapping[str, Value]
    config: Any
    """The ConfigProto of sessions."""
    metrics: Metrics
    scheduler: batching.Scheduler | None = None
    """Runs requests in batches; None runs each alone."""

    def load(self, model: str, path: Path) -> Servable:
        """Load and warm up; raises Failure."""
        servable = self._open(path)
        if self.scheduler is not None:
            servable = batching.Batched(servable, self.scheduler)
        if self.flags["enable_model_warmup"]:
            try:
                warmup.replay(
                    servable,
                    path,
                    iterations=int(self.flags["num_request_iterations_for_warmup"]),
                    metrics=self.metrics,
                )
            except Failure:
                servable.close()
                raise
        return servable

    def _open(self, path: Path) -> Servable:
        lite = path / tflite.FILE_NAME
        try:
            if self.flags["prefer_tflite_model"] and lite.exists():
                return tflite.TFLite(lite, interpreters=max(1, int(self.flags["num_tflite_pools"])))
            return self._saved_model(path)
        except OSError as error:
            raise Failure(Code.NOT_FOUND, f"{path}: {error}") from error

    def _saved_model(self, path: Path) -> Servable:
        log.info("Reading SavedModel from: %s", path)
        tags = str(self.flags["saved_model_tags"]).split(",")
        try:
            found = savedmodel.SavedModel(path, tags=tags, config=self.config)
        except Failure:
            self.metrics.loads.add(str(path), "fail")
            raise
        self.metrics.loads.add(str(path), "success")
        return found


def session_config(flags: Mapping[str, Value]) -> Any:
    """The ConfigProto the flags ask for; thread fields of a file are always overwritten, as TensorFlow Serving does."""
    config = config_pb2.ConfigProto()
    if flags["tensorflow_session_config_file"]:
        configs.read(str(flags["tensorflow_session_config_file"]), config)
    both = int(flags["tensorflow_session_parallelism"])
    intra, inter = int(flags["tensorflow_intra_op_parallelism"]), int(flags["tensorflow_inter_op_parallelism"])
    if not intra and not inter:
        intra = inter = both
    config.intra_op_parallelism_threads = intra
    config.inter_op_parallelism_threads = inter
    config.gpu_options.per_process_gpu_memory_fraction = float(flags["per_process_gpu_memory_fraction"])
    if flags["mixed_precision"] == "bfloat16":
        rewrite = config.graph_options.rewrite_options
        rewrite.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    elif flags["mixed_precision"]:
        log.warning("--mixed_precision=%s is not bfloat16 and changes nothing", flags["mixed_precision"])
    return config


def scheduler(flags: Mapping[str, Value], metrics: Metrics) -> batching.Scheduler | None:
    """None without --enable_batching; raises Failure for bad parameters."""
    if not flags["enable_batching"]:
        return None
    message = protos.BatchingParameters()
    if flags["batching_parameters_file"]:
        configs.read(str(flags["batching_parameters_file"]), message)
    return batching.Scheduler(batching.parameters(message, processors=processors()), metrics)


def disable_xla() -> None:
    """As TensorFlow Serving by default: a graph that XLA must compile fails when it runs."""
    from tensorflow.python.platform import sysconfig

    for library in sorted(Path(sysconfig.get_lib()).glob("libtensorflow_cc.so*")):
        try:
            ctypes.CDLL(str(library))._ZN10tensorflow21DisableXlaCompilationEv()
            return
        except (OSError, AttributeError) as error:
            reason = error
    log.warning("XLA stays enabled, which TensorFlow Serving would disable: %s", reason)
