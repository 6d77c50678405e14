"""What one look at a model asks of the API server."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import pytest

from modelpress.api.base import API_VERSION, KIND
from modelpress.kube.cache import Cache
from modelpress.kube.kinds import Manifest
from modelpress.manifests.installation import Installation
from modelpress.reconcile.controller import Terminal
from modelpress.reconcile.queue import Key, Queue
from modelpress.reconcile.readings import Readings
from modelpress.reconcile.reconciler import FRESH, Reconciler

NOW = dt.datetime(2026, 11, 22, 10, 0, 0, tzinfo=dt.UTC)
KEY = Key(KIND, "nlp", "bert")
ACCOUNT = ("ServiceAccount", "nlp", "bert-modelpress")


class Server:
    """Answers like an API server, and counts what it is asked; also whoever records Events."""

    manager = "modelpress"

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.version = 1
        self.model: Manifest = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": "bert", "namespace": "nlp", "uid": "u-1", "generation": 1, "resourceVersion": "1"},
            "spec": {"source": {"uri": "pvc://models/bert"}},
        }

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        self.asked["get"] += 1
        return self.model

    async def apply(self, manifest: Manifest) -> Manifest:
        self.asked["apply"] += 1
        owned = {"manager": self.manager, "operation": "Apply", "fieldsV1": _owned(manifest)}
        return self._newer(manifest, uid=manifest["metadata"]["name"], managedFields=[owned])

    async def apply_status(self, manifest: Manifest) -> Manifest:
        self.asked["status"] += 1
        self.model = self._newer({**self.model, "status": manifest["status"]})
        return self.model

    async def delete(self, _live: Manifest) -> None:
        self.asked["delete"] += 1

    async def record(self, *_: Any) -> None:
        self.asked["event"] += 1

    def annotate(self, name: str, value: str) -> Manifest:
        """What `kubectl annotate` does."""
        self.model = self._newer(self.model, annotations={name: value})
        return self.model

    def _newer(self, manifest: Manifest, **metadata: Any) -> Manifest:
        self.version += 1
        return {**manifest, "metadata": {**manifest["metadata"], **metadata, "resourceVersion": str(self.version)}}


def _owned(wanted: Any) -> dict[str, Any]:
    return {f"f:{name}": _owned(value) if isinstance(value, dict) else {} for name, value in wanted.items()}


class Look:
    """A model that was looked at for the first time, and its world."""

    def __init__(self) -> None:
        self.server, self.cache = Server(), Cache()
        self.cache.put(self.server.model)
        installation = Installation("reg/compressor:1", "reg/sidecar:1", "reg/serving:1")
        readings = Readings(self.cache, Queue())
        self._reconcile = Reconciler(self.server, self.cache, self.server, installation, readings)  # type: ignore[arg-type]

    async def __call__(self, now: dt.datetime = NOW) -> Counter[str]:
        """What this look asked for."""
        self.server.asked.clear()
        await self._reconcile(KEY, now)
        return self.server.asked.copy()

    def lose_a_child(self) -> None:
        """Somebody deletes a child."""
        live = self.cache.seen(*ACCOUNT)
        assert live is not None
        self.cache.remove(live)


@pytest.fixture
async def look() -> Look:
    made = Look()
    asked = await made()
    assert asked == {"get": 1, "apply": 3, "status": 1, "event": 1}
    return made


async def test_a_second_look_does_not_ask_for_what_our_own_write_has_just_answered(look: Look) -> None:
    look.lose_a_child()
    assert await look(NOW + FRESH / 2) == {"apply": 1}


async def test_an_old_answer_is_asked_for_again(look: Look) -> None:
    look.lose_a_child()
    assert await look(NOW + FRESH * 2) == {"get": 1, "apply": 1}


async def test_what_is_older_than_the_answer_is_asked_for_again(look: Look) -> None:
    live = look.cache.seen(KIND, "nlp", "bert")
    assert live is not None
    live["metadata"]["resourceVersion"] = "1"
    look.lose_a_child()
    assert (await look())["get"] == 1


async def test_another_model_of_the_same_name_is_asked_for(look: Look) -> None:
    look.server.model = look.server._newer({**look.server.model, "status": {}}, uid="u-2")
    look.cache.put(look.server.model)
    assert (await look())["get"] == 1


async def test_what_is_newer_than_the_answer_is_as_good(look: Look) -> None:
    look.cache.put(look.server.annotate("modelpress.dev/reconcile-requested-at", "2026-11-22T10:00:00Z"))
    asked = await look(NOW + FRESH / 2)
    assert (asked["get"], asked["delete"], asked["apply"]) == (0, 1, 1)


async def test_an_object_of_another_releases_schema_is_told_by_a_reason_of_its_own(look: Look) -> None:
    newer = {**look.server.model, "spec": {**look.server.model["spec"], "gate": {"onFailure": "AskSomebody"}}}
    look.server.model = look.server._newer(newer, generation=2)
    look.cache.put(look.server.model)
    with pytest.raises(Terminal, match=r"UnreadableResource: spec\.gate\.onFailure: "):
        await look()
    conditions = {one["type"]: one for one in look.server.model["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == conditions["Stalled"]["reason"] == "UnreadableResource"
    assert conditions["Stalled"]["message"].startswith("spec.gate.onFailure: Input should be ")
