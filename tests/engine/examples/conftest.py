"""The examples as a user runs them: prepared once, run once, served while their tests ask."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[2] / "examples")]

from example_jobs import fashion_mnist_jobs  # noqa: E402
from example_runs import Example, Running, prepared, running  # noqa: E402

__all__ = ["fashion_mnist_jobs"]


@pytest.fixture(scope="session")
def basic_pitch() -> Example:
    return prepared("basic-pitch")


@pytest.fixture(scope="session")
def fashion_mnist() -> Example:
    return prepared("fashion-mnist")


@pytest.fixture(scope="module")
def basic_pitch_run(basic_pitch: Example, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(basic_pitch, tmp_path_factory.mktemp("basic-pitch")) as started:
        yield started


@pytest.fixture(scope="module")
def fashion_mnist_run(fashion_mnist: Example, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(fashion_mnist, tmp_path_factory.mktemp("fashion-mnist")) as started:
        yield started
