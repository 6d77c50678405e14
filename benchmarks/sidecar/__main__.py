"""How fast the sidecar is beside Envoy and nginx, in turn on one core: `make bench-sidecar`.

    python -m benchmarks.sidecar [--quick] [--rounds N] [--soak MINUTES] [--interpreted]

The process under test has core 0, load and upstream share core 1. Only ratios within one run count. The last line is
one JSON object with the ratios; the tables before it show what they are made of.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import sidecar_policies
from benchmarks.sidecar import contenders, memory, rounds, soak, tools
from rich.console import Console


def main() -> None:
    """Measures, and prints tables and the JSON line."""
    arguments = _arguments()
    tools.provide()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("make bench-sidecar needs two cores: one for the process under test, one for load and upstream")
    os.sched_setaffinity(0, {int(contenders.OTHERS)})
    console = Console(width=110)
    plan = rounds.QUICK if arguments.quick else rounds.FULL._replace(rounds=arguments.rounds)
    package = None if arguments.interpreted else tools.package()
    with tempfile.TemporaryDirectory() as folder, contenders.started(Path(folder), package) as running:
        if arguments.soak:
            soak.run(running, Path(folder), arguments.soak, console)
            return
        series = rounds.measured(running, Path(folder), plan, console)
        console.print(series.table())
        console.print(rounds.connections(running, Path(folder), plan))
        console.print(memory.table(running, plan.entries))
        trace = plan.requests * 10, plan.requests * 2, 0.01
        console.print(sidecar_policies.table(dict(sidecar_policies.measured(*trace))))
        print(json.dumps(series.ratios()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sidecar", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few requests each, to see that it works")
    parser.add_argument("--rounds", type=int, default=rounds.FULL.rounds, help="rounds of which the median counts")
    parser.add_argument("--interpreted", action="store_true", help="the sources as they are, not as the wheel has them")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="mixed load and memory over time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
