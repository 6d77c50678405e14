"""Which sidecars are asked, and when their word leads to a look."""

from __future__ import annotations

from typing import Any

import pytest

from modelpress.api.base import API_VERSION, KIND
from modelpress.kube.cache import Cache
from modelpress.reconcile.queue import Key, Queue
from modelpress.reconcile.readings import MOST_PODS, Readings

KEY = Key(KIND, "nlp", "bert")
DIGEST = "sha256:" + "cd" * 32


class Sidecars:
    """A model with pods in the operator's cache; `says` is what their sidecars answer, None: nothing."""

    def __init__(self) -> None:
        self.cache, self.queue = Cache(), Queue()
        self.readings = Readings(self.cache, self.queue)
        self.says: tuple[str, str] | None = ("True", "Effective")
        self.asked: list[tuple[str, int]] = []
        self._version = 0

    def model(self, mode: str | None = "Auto", reason: str = "NotMeasured", **more: Any) -> None:
        condition = {"type": "CacheEffective", "status": "Unknown", "reason": reason, "message": "..."}
        status = {"current": {"digest": DIGEST}, "conditions": [condition]}
        spec = {"cache": {"mode": mode}} if mode else {}
        self._put(KIND, "bert", API_VERSION, spec=spec, status=status, **more)

    def pod(self, name: str, ip: str = "10.0.0.1", *, ready: bool = True, role: str = "current", **more: Any) -> None:
        labels = {"modelpress.dev/compressedmodel": "bert", "modelpress.dev/role": role}
        conditions = [{"type": "Ready", "status": str(ready)}]
        self._put("Pod", name, "v1", labels=labels, status={"podIP": ip, "conditions": conditions}, **more)

    def _put(self, kind: str, name: str, api: str, *, spec: Any = None, status: Any = None, **metadata: Any) -> None:
        self._version += 1
        known = {"name": name, "namespace": "nlp", "uid": f"u-{name}", "resourceVersion": str(self._version)}
        self.cache.put({"kind": kind, "apiVersion": api, "metadata": known | metadata, "spec": spec, "status": status})

    async def ask(self, address: str, port: int) -> dict[str, Any] | None:
        self.asked.append((address, port))
        if self.says is None:
            return None
        effective = dict(zip(("status", "reason"), self.says, strict=True)) | {"message": "So it is."}
        return {"artifactDigest": DIGEST, "cache": {"effective": effective}}

    async def sweeps(self, count: int) -> int:
        """How many looks are wanted after so many sweeps."""
        for _ in range(count):
            await self.readings.sweep(self.ask)
        return self.queue.depth()

    @property
    def settled(self) -> Any:
        found = self.readings.settled(KEY, "u-bert")
        return found and (found.status, found.reason)


@pytest.fixture
def sidecars() -> Sidecars:
    return Sidecars()


async def test_a_look_is_wanted_once_the_verdict_has_moved(sidecars: Sidecars) -> None:
    sidecars.model()
    sidecars.pod("a")
    assert await sidecars.sweeps(2) == 0
    assert await sidecars.sweeps(1) == 1
    assert sidecars.settled == ("True", "Effective")
    assert (await sidecars.queue.take()) == KEY
    assert await sidecars.sweeps(3) == 0


async def test_what_the_status_says_already_needs_no_look(sidecars: Sidecars) -> None:
    sidecars.model(reason="Effective")
    sidecars.pod("a")
    assert await sidecars.sweeps(5) == 0
    assert sidecars.settled == ("True", "Effective")


@pytest.mark.parametrize("model", [
    {"mode": "Enabled"},
    {"mode": "Disabled"},
    {"reason": "NotDeterministic"},
    {"deletionTimestamp": "2026-11-22T10:00:00Z"},
])  # fmt: skip
async def test_nobody_is_asked_where_the_answer_would_not_count(model: dict[str, Any], sidecars: Sidecars) -> None:
    sidecars.model(**model)
    sidecars.pod("a")
    assert await sidecars.sweeps(3) == 0
    assert sidecars.asked == []


async def test_auto_is_the_default(sidecars: Sidecars) -> None:
    sidecars.model(mode=None)
    sidecars.pod("a")
    await sidecars.sweeps(1)
    assert sidecars.asked == [("10.0.0.1", 9090)]


async def test_only_ready_pods_of_the_serving_revision_are_asked_and_a_few_of_many(sidecars: Sidecars) -> None:
    sidecars.model()
    sidecars.pod("a", "10.0.0.1", ready=False)
    sidecars.pod("b", "10.0.0.2", role="candidate")
    sidecars.pod("c", "10.0.0.3", deletionTimestamp="2026-11-22T10:00:00Z")
    sidecars.pod("d", "10.0.0.4")
    await sidecars.sweeps(1)
    assert sidecars.asked == [("10.0.0.4", 9090)]
    for number in range(20):
        sidecars.pod(f"e{number}", f"10.0.1.{number}")
    sidecars.asked.clear()
    await sidecars.sweeps(1)
    assert len(sidecars.asked) == MOST_PODS


async def test_sidecars_that_stay_silent_become_unreachable(sidecars: Sidecars) -> None:
    sidecars.model(reason="Effective")
    sidecars.pod("a")
    sidecars.says = None
    assert await sidecars.sweeps(2) == 0
    assert sidecars.settled == ("True", "Effective")
    assert await sidecars.sweeps(1) == 1
    assert sidecars.settled == ("Unknown", "SidecarsUnreachable")


async def test_a_model_made_anew_inherits_nothing(sidecars: Sidecars) -> None:
    sidecars.model()
    sidecars.pod("a")
    await sidecars.sweeps(3)
    sidecars.model(uid="u-2")
    await sidecars.sweeps(1)
    assert sidecars.settled is None
    assert sidecars.readings.settled(KEY, "u-2") == ("Unknown", "NotMeasured", "...")
