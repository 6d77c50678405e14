"""From success to more, from failure to less: the next share to remove, as what is lost grows with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def following(shares: Sequence[float], first: float, tried: Mapping[float, bool]) -> float | None:
    """Of `shares`, in rising order, the one to try next; None where the largest that passes is known.

    `tried`: share -> whether it passed. The first trial is of `first`, each later one halves what is open.
    """
    if not tried:
        return first
    passed, failed = _largest(tried), edge(tried)
    between = [share for share in shares if passed < share < (1.0 if failed is None else failed)]
    return between[(len(between) - 1) // 2] if between else None


def edge(tried: Mapping[float, bool]) -> float | None:
    """The smallest share that failed above all that passed; None where none did."""
    passed = _largest(tried)
    return min((share for share, good in tried.items() if not good and share > passed), default=None)


def _largest(tried: Mapping[float, bool]) -> float:
    """That passed; 0 where none did."""
    return max((share for share, good in tried.items() if good), default=0.0)
