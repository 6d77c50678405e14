"""A SavedModel run as TensorFlow Serving runs it: the v1 loader, one session, feeds and fetches by tensor name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from modelpress.server import signatures
from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.servable import Array


class SavedModel:
    """One loaded SavedModel version."""

    def __init__(self, path: Path, *, tags: Sequence[str], config: Any) -> None:
        """Load variables and run the initializers; raises Failure. `config` is the session's ConfigProto."""
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, list(tags), str(path))
        except Exception as error:
            self._session.close()
            raise _load_failure(error, path, tags) from error
        self.signatures: Mapping[str, signatures.Signature] = {
            name: signatures.read(name, definition) for name, definition in meta_graph.signature_def.items()
        }
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Callable[..., list[Any]]] = {}
        self._lock = threading.Lock()

    def run(self, feeds: tuple[str, ...], values: Sequence[Array], fetches: tuple[str, ...]) -> Sequence[Array]:
        """Run the graph; the first run of a combination of feeds and fetches prepares its executor."""
        try:
            call = self._callables.get((feeds, fetches)) or self._prepare(feeds, fetches)
            outputs = call(*values)
        except tf.errors.OpError as error:
            raise Failure(Code(error.error_code), error.message) from error
        except (TypeError, ValueError) as error:
            raise invalid_argument(str(error)) from error
        return [value if isinstance(value, np.ndarray) else _scalar(value) for value in outputs]

    def close(self) -> None:
        """Free the session and its executors."""
        self._callables.clear()
        self._session.close()

    def _prepare(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Callable[..., list[Any]]:
        with self._lock:
            if (feeds, fetches) not in self._callables:
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                # Session.run and make_callable() rebuild the feeds in Python for every call, eight times as slow.
                self._callables[feeds, fetches] = self._session._make_callable_from_options(options)
            return self._callables[feeds, fetches]


def _scalar(value: Any) -> Array:
    return np.array(value, dtype=object) if isinstance(value, bytes | str) else np.asarray(value)


def _load_failure(error: Exception, path: Path, tags: Sequence[str]) -> Failure:
    if isinstance(error, tf.errors.OpError):
        return Failure(Code(error.error_code), error.message)
    if not (path / "saved_model.pb").exists() and not (path / "saved_model.pbtxt").exists():
        return Failure(
            Code.NOT_FOUND,
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}. Check that the "
            "directory exists and that you have the right permissions for accessing it.",
        )
    if isinstance(error, RuntimeError) and "could not be found in SavedModel" in str(error):
        return Failure(
            Code.NOT_FOUND,
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To inspect available "
            "tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`",
        )
    return Failure(Code.INTERNAL, f"{type(error).__name__}: {error}")
