"""Several processes build at once what one then finds finished; versions that moves share are made once."""

from __future__ import annotations

import multiprocessing
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from modelpress.api.errors import Invalid
from modelpress.api.recipe import Recipe
from modelpress.compress import bench as benches
from modelpress.compress import candidates, dataset, engine, inspection, plan, source, versions
from modelpress.compress.search import crew, move
from modelpress.compress.work import WorkArea
from modelpress.storage import layout
from modelpress.telemetry.progress import Silent

PRUNED = {"prune": {"sparsity": 0.3}}


def opened(request, work):
    found = source.find(request.source)
    rows = inspection.inspected(request, found, dataset.digests(request.data))
    area = WorkArea(work, layout.opened(request.store, request.namespace))
    wanted = plan.of_recipe(request.recipe, device="CPU")
    return benches.prepared(request, wanted, found, rows, area, Silent())


def test_two_processes_build_what_one_finds(ask, tmp_path):
    bench = opened(ask(), tmp_path / "store" / "default" / "work" / "key")
    steps = [[PRUNED, {"quantize": {"scheme": scheme}}] for scheme in ("DynamicInt8", "Float16")]
    moves = [move.of_steps(one, "TFLite", Recipe(), "CPU") for one in steps]
    with crew.crew(bench, 2) as builders:
        assert builders.count == 2
        builders.build(moves, seconds=600)
    before = bench.area.reused
    for one in moves:
        built = candidates.build(bench, bench.versions.after(one.changes), one.build)
        assert built.finding is None
    assert bench.area.reused - before == 3, "one version and two forms were found finished"


def test_a_step_that_fails_half_way_leaves_nothing_to_the_next_move(ask, tmp_path, monkeypatch):
    def fails(version, step, setting):
        for variable in version.variables():
            variable.assign_add(tf.ones_like(variable))
        raise Invalid("TrainingDiverged", "the loss became nan", field=setting.field)

    bench = opened(ask(), tmp_path / "store" / "default" / "work" / "key")
    pruned, clustered = (
        move.of_steps(steps, "TFLite", Recipe(), "CPU") for steps in ([PRUNED], [PRUNED, {"cluster": {"clusters": 4}}])
    )
    before = [variable.numpy() for variable in bench.versions.after(pruned.changes).opened.variables()]
    monkeypatch.setitem(versions.APPLY, "cluster", fails)
    with pytest.raises(Invalid, match="became nan"):
        bench.versions.after(clustered.changes)
    after = bench.versions.after(pruned.changes).opened.variables()
    assert all(np.array_equal(one, variable.numpy()) for one, variable in zip(before, after, strict=True))


def test_a_search_by_two_processes_outlives_one_of_them(ask, tmp_path, monkeypatch):
    def kill_one_after_the_first_trial():
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            journals = list(tmp_path.glob("store/default/work/*/trials.jsonl"))
            if any(b'"number"' in path.read_bytes() for path in journals):
                killed.append(multiprocessing.active_children()[0])
                killed[0].kill()
                return
            time.sleep(0.01)

    killed = []
    monkeypatch.setattr(crew, "processes", lambda bench: 2)
    killer = threading.Thread(target=kill_one_after_the_first_trial)
    killer.start()
    done = engine.compress(
        ask(recipe={"search": {"trials": 4}}, gate={"size": {"maxRatio": 0.01}}), progress=Silent(), now=1
    )
    killer.join()
    assert killed, "there were processes beside this one"
    assert [trial.verdict for trial in done.manifest.trials] == ["TooLarge"] * 4
    assert len(done.manifest.candidates) == 3
