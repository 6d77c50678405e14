"""Events: one per transition, repetitions counted."""

from __future__ import annotations

import datetime as dt

import pytest

from modelpress.kube.client import connect
from modelpress.kube.events import Recorder

NOW = dt.datetime(2026, 11, 22, 10, tzinfo=dt.UTC)
RULES = [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}]


@pytest.fixture
async def recorder(service_account):
    account = await service_account(RULES)
    async with connect(str(account.kubeconfig)) as cluster:
        yield Recorder(cluster, "operator-0")


async def events(cluster, namespace):
    return [event for event in await cluster.list("Event", namespace) if event["regarding"]["name"] == "bert"]


async def test_a_transition_is_told_as_an_event_of_its_object(recorder, model, cluster, namespace):
    await recorder.record(await model("bert"), "Warning", "GateFailed", "Accuracy drops by 0.031", NOW)
    (event,) = await events(cluster, namespace)
    told = {part: event[part] for part in ("type", "reason", "note", "action", "reportingController")}
    assert told == {
        "type": "Warning",
        "reason": "GateFailed",
        "note": "Accuracy drops by 0.031",
        "action": "Reconcile",
        "reportingController": "modelpress.dev/operator",
    }


async def test_a_repetition_is_counted_and_not_told_again(recorder, model, cluster, namespace):
    live = await model("bert")
    for minute in range(3):
        await recorder.record(live, "Normal", "Compressing", "Job runs", NOW + dt.timedelta(minutes=minute))
    (event,) = await events(cluster, namespace)
    assert event["series"]["count"] == 3


async def test_other_words_are_another_event(recorder, model, cluster, namespace):
    live = await model("bert")
    await recorder.record(live, "Normal", "Compressing", "Job runs", NOW)
    await recorder.record(live, "Normal", "Compressing", "Job runs, 2 of 3", NOW)
    assert len(await events(cluster, namespace)) == 2


async def test_an_event_that_cannot_be_written_holds_nobody_up(service_account, model, caplog):
    account = await service_account([])
    async with connect(str(account.kubeconfig)) as powerless:
        await Recorder(powerless, "operator-0").record(await model("bert"), "Normal", "Served", "Serves", NOW)
    assert "Event not written" in caplog.text
