"""The versions of the models on disk: discovery, loading before unloading, labels, and what a request gets to use."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from modelpress.server import configs
from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.servable import Servable

log = logging.getLogger(__name__)


class State(enum.IntEnum):
    """Names and numbers of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


_MOVING = (State.START, State.LOADING, State.UNLOADING)


@dataclasses.dataclass(eq=False, slots=True)
class Version:
    """One version directory since it was first seen."""

    model: str
    number: int
    path: Path
    state: State = State.START
    failure: Failure | None = None
    """Why it ended, where it failed to load."""
    servable: Servable | None = None
    users: int = 0
    """Requests that run now; a version is not closed under them."""

    def __str__(self) -> str:
        return f"{{name: {self.model} version: {self.number}}}"


@dataclasses.dataclass(frozen=True, slots=True)
class Retries:
    """How often and how far apart a load that failed is tried again."""

    count: int = 5
    interval_seconds: float = 60.0


class Versions:
    """All models of a server. One thread of its own finds, loads and unloads; the rest is safe from any thread."""

    def __init__(
        self,
        load: Callable[[str, Path], Servable],
        *,
        poll_seconds: float = 1,
        retries: Retries | None = None,
        labels_for_unavailable: bool = False,
    ) -> None:
        """`poll_seconds` 0 looks for versions only when the configuration changes, negative never."""
        self._load = load
        self._poll_seconds = poll_seconds
        self._retries = retries or Retries()
        self._labels_for_unavailable = labels_for_unavailable
        self._models: Sequence[configs.Model] | None = None
        self._versions: dict[str, dict[int, Version]] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._serving: dict[str, dict[int, Version]] = {}
        self._changed = threading.Condition()
        self._reload = threading.Lock()
        self._wake = threading.Event()
        self.stopped = threading.Event()
        """Set by stop()."""
        self._said: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)

    @contextlib.contextmanager
    def use(self, model: str, version: int | None = None, label: str | None = None) -> Iterator[tuple[int, Servable]]:
        """The version number and the servable for one request; raises Failure when there is none."""
        found = self._acquire(model, version, label)
        try:
            assert found.servable is not None  # noqa: S101 - what serves is loaded
            yield found.number, found.servable
        finally:
            with self._changed:
                found.users -= 1
                if not found.users:
                    self._changed.notify_all()

    def statuses(self, model: str) -> Sequence[tuple[int, State, Failure | None]]:
        """Every version seen so far with its state, lowest number first."""
        with self._changed:
            known = self._versions.get(model, {})
            return [(number, known[number].state, known[number].failure) for number in sorted(known)]

    def configure(self, models: Sequence[configs.Model]) -> None:
        """Replace the configuration and wait until newly named models are available; raises Failure."""
        with self._reload:
            configs.check(models)
            configs.check_platforms(self._models or (), models)
            self._assign_labels(models)
            known = {model.name for model in self._models or ()}
            self._models = tuple(models)
            if not self._thread.is_alive():
                self._thread.start()
            self._wake.set()
            self._wait_for([model.name for model in models if model.name not in known])

    def stop(self) -> None:
        """Stop looking for versions; what serves keeps serving."""
        self.stopped.set()
        self._wake.set()
        with self._changed:
            self._changed.notify_all()

    def _acquire(self, model: str, version: int | None, label: str | None) -> Version:
        if not model:
            raise invalid_argument("ModelSpec has no name specified.")
        with self._changed:
            if label is not None:
                version = self._labels.get(model, {}).get(label)
                if version is None:
                    raise invalid_argument(f"Unrecognized servable version label: {label}")
            serving = self._serving.get(model)
            found = serving.get(max(serving) if version is None else version) if serving else None
            if found is None:
                wanted = f"Latest({model})" if version is None else f"Specific({model}, {version})"
                raise Failure(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
            found.users += 1
            return found

    def _assign_labels(self, models: Sequence[configs.Model]) -> None:
        with self._changed:
            for model in models:
                old = self._labels.get(model.name, {})
                for label, version in model.labels.items():
                    excused = self._labels_for_unavailable and old.get(label, version) == version
                    if not excused and version not in self._serving.get(model.name, {}):
                        raise Failure(
                            Code.FAILED_PRECONDITION,
                            f"Request to assign label to version {version} of model {model.name}, "
                            "which is not currently available for inference",
                        )
            self._labels = {model.name: dict(model.labels) for model in models}

    def _wait_for(self, names: Sequence[str]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.stopped.is_set() or all(self._settled(name) for name in names))
            if self.stopped.is_set():
                raise Failure(Code.CANCELLED, "The server is stopping")
            ended = [
                version
                for name in names
                if not self._serving.get(name)
                for version in self._versions[name].values()
                if version.state is State.END
            ]
        if ended:
            said = "".join(
                f"{{{version}{f' due to error: {version.failure}' if version.failure else ''}}}, " for version in ended
            )
            raise Failure(Code.UNKNOWN, f"{len(ended)} model(s) did not become available: {{{said}}}")

    def _settled(self, name: str) -> bool:
        known = self._versions.get(name)
        return bool(self._serving.get(name)) or bool(
            known and all(version.state is State.END for version in known.values())
        )

    def _run(self) -> None:
        while not self.stopped.is_set():
            self._wake.wait(self._poll_seconds if self._poll_seconds > 0 else None)
            self._wake.clear()
            if not self.stopped.is_set():
                self._look()

    def _look(self) -> None:
        models = {model.name: model for model in self._models or ()}
        for name in [*models, *(name for name in self._versions if name not in models)]:
            try:
                self._look_at(name, models.get(name))
            except Exception as error:  # this thread must go on, or nobody would ever load or unload again
                log.exception("Servable %s: unexpected error", name)
                self._end(name, Failure(Code.INTERNAL, f"{type(error).__name__}: {error}"))

    def _look_at(self, name: str, model: configs.Model | None) -> None:
        try:
            aspired = configs.aspired(model) if model else {}
        except OSError as error:
            assert model is not None  # noqa: S101 - only a configured model is looked for
            self._say(name, f"Could not find base path {model.base_path} for servable {name} with error {error}")
            return
        if model and not aspired:
            self._say(
                name,
                f"No versions of servable {name} found under base path {model.base_path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?",
            )
        else:
            self._said.pop(name, None)
        self._reconcile(name, aspired)

    def _end(self, name: str, failure: Failure) -> None:
        """What was on its way up or down ends with the failure; what serves keeps serving."""
        with self._changed:
            moving = [one for one in self._versions.get(name, {}).values() if one.state in _MOVING]
        for version in moving:
            self._move(version, State.END, failure)

    def _say(self, name: str, text: str) -> None:
        """Log a thing once, not at every poll."""
        if self._said.get(name) != text:
            self._said[name] = text
            log.warning("%s", text)

    def _reconcile(self, name: str, aspired: Mapping[int, Path]) -> None:
        with self._changed:
            known = self._versions.setdefault(name, {})
            for number in [n for n, version in known.items() if version.failure and n not in aspired]:
                known[number].failure = None
            wanted = []
            for number in sorted(aspired):
                version = known.get(number)
                if version is None or (version.state is State.END and version.failure is None):
                    known[number] = Version(name, number, aspired[number])
                    wanted.append(known[number])
        self._unload(name, aspired)
        for version in wanted:
            if self.stopped.is_set():
                return
            self._bring_up(version)
            self._unload(name, aspired)

    def _bring_up(self, version: Version) -> None:
        self._move(version, State.LOADING)
        log.info("Loading servable version %s", version)
        began = time.monotonic()
        for attempt in range(self._retries.count + 1):
            if attempt and self.stopped.wait(max(self._retries.interval_seconds, 0)):
                return
            try:
                version.servable = self._load(version.model, version.path)
                break
            except Failure as failure:
                log.error("Loading servable: %s failed: %s", version, failure)
                failure_seen = failure
            except Exception as error:  # a broken file can raise anything, and the others must go on
                log.exception("Loading servable: %s failed", version)
                failure_seen = Failure(Code.INTERNAL, f"{type(error).__name__}: {error}")
        else:
            log.error("Servable %s cannot be loaded: %s", version, failure_seen)
            self._move(version, State.END, failure_seen)
            return
        self._move(version, State.AVAILABLE)
        log.info("Successfully loaded servable version %s in %.2f s", version, time.monotonic() - began)

    def _unload(self, name: str, aspired: Mapping[int, Path]) -> None:
        """Unload what is not wanted any more, but never the last one that can serve while a wanted one is not ready."""
        with self._changed:
            serving = self._serving.get(name, {})
            if aspired and not any(number in serving for number in aspired):
                return
            leaving = [version for number, version in serving.items() if number not in aspired]
        for version in leaving:
            self._move(version, State.UNLOADING)
            with self._changed:
                self._changed.wait_for(lambda version=version: not version.users)  # type: ignore[misc]
            if version.servable is not None:
                version.servable.close()
                version.servable = None
            self._move(version, State.END)
            log.info("Done unloading servable version %s", version)

    def _move(self, version: Version, state: State, failure: Failure | None = None) -> None:
        with self._changed:
            version.state, version.failure = state, failure
            serving = dict(self._serving.get(version.model, {}))
            if state is State.AVAILABLE:
                serving[version.number] = version
            else:
                serving.pop(version.number, None)
            self._serving[version.model] = serving
            self._changed.notify_all()
