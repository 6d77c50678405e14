"""What several launches of the same servers told of their latency. Pure.

Two servers of one model differ by some percent for as long as they run (where their memory lies, for one), which no
number of requests to them tells. So all are started anew several times, and what is told is the median of the launches.
Its interval is their range: the median of a distribution lies within the range of n draws with a probability of
1 - 2 * .5 ** n, whatever the distribution is (the sign test's interval).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from modelpress.api.measurement import Compared, LatencyMeasured

COUNT = 6
"""An interval of 97 %."""


def middle(launches: Sequence[LatencyMeasured]) -> LatencyMeasured:
    """Medians of the launches, and the range of their ratios; net latency only where each of them knows it."""
    first = launches[0]
    gross = [one.gross for one in launches]
    p50s = [one.p50 for one in launches if one.p50]
    nets = [one.net for one in launches if one.net]
    knows_net = len(nets) == len(launches)
    constants = [one.constant for one in launches if one.constant is not None]
    return first.model_copy(
        update={
            "gross": _median(gross),
            "p50": _median(p50s) if p50s else None,
            "ratio_low": min(one.ratio for one in gross),
            "ratio_high": max(one.ratio for one in gross),
            "net": _median(nets) if knows_net else None,
            "net_ratio_low": min(one.ratio for one in nets) if knows_net else None,
            "net_ratio_high": max(one.ratio for one in nets) if knows_net else None,
            "constant": statistics.median(constants) if constants else None,
        }
    )


def _median(compared: Sequence[Compared]) -> Compared:
    return Compared(
        source=statistics.median(one.source for one in compared),
        value=statistics.median(one.value for one in compared),
        ratio=statistics.median(one.ratio for one in compared),
    )
