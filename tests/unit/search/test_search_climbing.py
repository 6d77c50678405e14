"""A search goes on from a share that passed to a larger one, and back from one that did not."""

from __future__ import annotations

import pytest

from modelpress.compress.search import climbing

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def climbed(most):
    """The shares tried in order where those up to `most` pass."""
    tried = {}
    while (share := climbing.following(SHARES, 0.4, tried)) is not None:
        tried[share] = share <= most
    return list(tried), climbing.edge(tried)


@pytest.mark.parametrize(
    ("most", "expected", "edge"),
    [
        (0.5, [0.4, 0.6, 0.5], 0.6),
        (0.7, [0.4, 0.6, 0.7], None),
        (0.3, [0.4, 0.2, 0.3], 0.4),
        (0.05, [0.4, 0.2, 0.1], 0.1),
    ],
)
def test_three_trials_find_the_largest_share_that_passes(most, expected, edge):
    assert climbed(most) == (expected, edge)


def test_what_an_estimator_tried_meanwhile_counts(most=0.6):
    assert climbing.following(SHARES, 0.4, {0.5: True, 0.7: False}) == 0.6
