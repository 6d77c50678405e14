"""Versions come and go on disk; requests never notice."""

from __future__ import annotations

import threading
import time

import pytest

from modelpress.server import configs
from modelpress.server.configs import Model, Policy
from modelpress.server.failure import Code, Failure
from modelpress.server.versions import Retries, State, Versions

DEADLINE = 20


class Fake:
    """A servable that knows whether it is open."""

    signatures = {}

    def __init__(self, path):
        self.path, self.open = path, True

    def run(self, feeds, values, fetches):
        return []

    def close(self):
        self.open = False


class World:
    """A base path, a server of it, and a loader that can be told to fail."""

    def __init__(self, base):
        self.base = base
        self.broken = set()
        self.loads = []
        self.versions = None

    def load(self, model, path):
        self.loads.append(int(path.name))
        if int(path.name) in self.broken:
            raise Failure(Code.DATA_LOSS, "broken")
        return Fake(path)

    def serve(self, policy=Policy(), labels=None, retries=Retries(0, 0), **options):  # noqa: B008
        self.versions = Versions(self.load, poll_seconds=0.02, retries=retries, **options)
        self.versions.configure([self.model(policy, labels)])
        return self.versions

    def model(self, policy=Policy(), labels=None):  # noqa: B008
        return Model("m", str(self.base), policy=policy, labels=labels or {})

    def add(self, *numbers):
        for number in numbers:
            (self.base / str(number)).mkdir()

    def states(self):
        return {number: state for number, state, _ in self.versions.statuses("m")}

    def until(self, condition):
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, self.states()
            threading.Event().wait(0.01)


@pytest.fixture
def world(tmp_path):
    found = World(tmp_path)
    yield found
    if found.versions:
        found.versions.stop()


def served(versions, **choice):
    with versions.use("m", **choice) as (number, _):
        return number


def test_a_new_version_replaces_the_old_one(world):
    world.add(1)
    versions = world.serve()
    assert served(versions) == 1
    world.add(2)
    world.until(lambda: world.states() == {1: State.END, 2: State.AVAILABLE})
    assert served(versions) == 2


def test_a_version_in_use_is_not_closed(world):
    world.add(1)
    versions = world.serve()
    with versions.use("m") as (_, servable):
        world.add(2)
        world.until(lambda: world.states().get(1) is State.UNLOADING)
        assert servable.open
        assert served(versions) == 2
    world.until(lambda: world.states()[1] is State.END)
    assert not servable.open


def test_a_version_that_fails_leaves_the_old_one_serving(world):
    world.add(1)
    versions = world.serve()
    world.broken.add(2)
    world.add(2)
    world.until(lambda: world.states() == {1: State.AVAILABLE, 2: State.END})
    assert served(versions) == 1
    assert next(failure for number, _, failure in versions.statuses("m") if number == 2).code is Code.DATA_LOSS


def test_a_failed_version_is_not_tried_again_until_it_comes_back(world):
    world.add(1)
    world.serve()
    world.broken.add(2)
    world.add(2)
    world.until(lambda: world.states().get(2) is State.END)
    assert world.loads.count(2) == 1
    (world.base / "2").rmdir()
    world.broken.clear()
    world.until(lambda: not [failure for _, _, failure in world.versions.statuses("m") if failure])
    world.add(2)
    world.until(lambda: world.states() == {1: State.END, 2: State.AVAILABLE})


def test_a_load_is_retried_as_often_as_allowed(world):
    world.add(1)
    world.broken.add(1)
    with pytest.raises(Failure) as caught:
        world.serve(retries=Retries(2, 0))
    assert world.loads == [1, 1, 1]
    assert caught.value.code is Code.UNKNOWN
    assert caught.value.message == (
        "1 model(s) did not become available: {{{name: m version: 1} due to error: DATA_LOSS: broken}, }"
    )


def test_an_empty_base_path_unloads_everything_and_a_missing_one_nothing(world):
    world.add(1)
    versions = world.serve()
    away = world.base.with_name("away")
    world.base.rename(away)
    assert served(versions) == 1
    away.rename(world.base)
    (world.base / "1").rmdir()
    world.until(lambda: world.states() == {1: State.END})
    with pytest.raises(Failure) as caught:
        served(versions)
    assert caught.value.code is Code.NOT_FOUND


def test_the_server_waits_for_a_first_version(world):
    threading.Timer(0.1, world.add, [4]).start()
    assert served(world.serve()) == 4


def test_all_versions_and_the_largest_is_the_latest(world):
    world.add(1, 2, 3)
    versions = world.serve(Policy("all"))
    world.until(lambda: set(world.states().values()) == {State.AVAILABLE})
    assert served(versions) == 3
    assert served(versions, version=1) == 1


def test_a_model_left_out_of_the_configuration_is_unloaded(world):
    world.add(1)
    versions = world.serve()
    versions.configure([])
    world.until(lambda: world.states() == {1: State.END})


def test_a_refused_configuration_changes_nothing(world):
    world.add(1)
    versions = world.serve()
    with pytest.raises(Failure):
        versions.configure([Model("m", "relative")])
    assert served(versions) == 1


def test_labels_name_available_versions_only(world):
    world.add(1)
    versions = world.serve()
    versions.configure([world.model(labels={"stable": 1})])
    assert served(versions, label="stable") == 1
    with pytest.raises(Failure) as caught:
        versions.configure([world.model(Policy("all"), {"stable": 1, "canary": 2})])
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert caught.value.message == (
        "Request to assign label to version 2 of model m, which is not currently available for inference"
    )


def test_new_labels_may_come_first_but_old_ones_must_not_move_to_what_is_not_there(world):
    world.add(1)
    versions = world.serve(labels={"stable": 1}, labels_for_unavailable=True)
    assert served(versions, label="stable") == 1
    with pytest.raises(Failure, match="which is not currently available for inference"):
        versions.configure([world.model(labels={"stable": 2})])


def test_stopping_ends_the_wait_for_a_first_version(world):
    world.versions = Versions(world.load, poll_seconds=0.02)
    threading.Timer(0.1, world.versions.stop).start()
    with pytest.raises(Failure, match="stopping"):
        world.versions.configure([configs.Model("m", str(world.base))])


def test_an_unexpected_error_ends_the_version_and_not_the_thread(world):
    world.add(1)
    versions = world.serve()

    def fail():
        raise RuntimeError("cannot close")

    with versions.use("m") as (_, servable):
        servable.close = fail
    world.add(2)
    world.until(lambda: world.states() == {1: State.END, 2: State.AVAILABLE})
    (_, _, failure), _ = versions.statuses("m")
    assert str(failure) == "INTERNAL: RuntimeError: cannot close"
    world.add(3)
    world.until(lambda: world.states() == {1: State.END, 2: State.END, 3: State.AVAILABLE})
