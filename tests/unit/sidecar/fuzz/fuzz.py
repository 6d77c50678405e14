"""Fuzzes the sidecar's parsers and keys: `python fuzz.py [--seconds 60] [--only NAME] [--guided]`.

By itself it mutates known inputs at random, from a seed, so that a failure can be repeated. With --guided the coverage
of the code guides it (atheris, libFuzzer). An input that fails is printed as base64 and can be given with --input.
"""

from __future__ import annotations

import argparse
import base64
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from targets import Target

SLOWEST = 2.0
"""Seconds that one input may take: none hangs. Far above what the slowest takes, as other programs run beside it."""
MOST = 8192
"""Bytes of an input."""


class Result(NamedTuple):
    """What a run has seen."""

    inputs: int
    outcomes: Counter[str]
    slowest: float


def mutations(target: Target, seed: int) -> Iterator[bytes]:
    """The seeds, then ever more of what can be made of them and of what reached something new."""
    yield from target.seeds
    yield b""
    chance = random.Random(f"{target.name} {seed}")
    while True:
        if target.make is not None and chance.randrange(2):
            yield target.make(chance)
            continue
        data = bytearray(chance.choice(target.seeds))
        for _ in range(chance.choice((1, 1, 2, 3, 6))):
            _mutate(data, target, chance)
        yield bytes(data[:MOST])


def _mutate(data: bytearray, target: Target, chance: random.Random) -> None:
    at, kind = chance.randrange(len(data) + 1), chance.randrange(8)
    if kind == 0 and data:
        data[at % len(data)] ^= 1 << chance.randrange(8)
    elif kind == 1 and data:
        data[at % len(data)] = chance.choice((0, 1, 2, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    elif kind == 2:
        del data[at : at + chance.choice((1, 2, 4, 16))]
    elif kind == 3:
        data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 16)))
    elif kind == 4:
        other = chance.choice(target.seeds)
        cut = chance.randrange(len(other) + 1)
        data[at:] = other[cut:]
    elif kind == 5:
        data[at:at] = data[at : at + 32] * chance.choice((1, 2, 20))
    elif kind == 6 and target.pieces:
        data[at:at] = chance.choice(target.pieces) * chance.choice((1, 1, 1, 50))
    else:
        del data[at:]


def run(target: Target, *, inputs: int | None = None, seconds: float | None = None, seed: int = 0) -> Result:
    """Raises what the target raises, with the input that made it do so."""
    outcomes: Counter[str] = Counter()
    slowest, started = 0.0, time.monotonic()
    for number, data in enumerate(mutations(target, seed)):
        before = time.monotonic()
        if number == inputs or (seconds is not None and before - started > seconds):
            break
        try:
            outcomes[target.run(data)] += 1
        except BaseException as error:
            error.add_note(f"--only {target.name} --input {base64.b64encode(data).decode()}")
            raise
        took = time.monotonic() - before
        slowest = max(slowest, took)
        if took > SLOWEST:
            raise AssertionError(f"{target.name} took {took:.1f} s for {base64.b64encode(data).decode()}")
    return Result(outcomes.total(), outcomes, slowest)


def _guided(target: Target, seconds: float) -> None:
    """Ends the process: libFuzzer does."""
    import tempfile

    import atheris

    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(target.seeds):
            Path(corpus, str(number)).write_bytes(data)
        options = [f"-max_total_time={seconds:g}", f"-max_len={MOST}", "-timeout=10", "-print_final_stats=1", "-seed=1"]
        atheris.Setup([sys.argv[0], corpus, *options], lambda data: (target.run(data), None)[1])
        atheris.Fuzz()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="altogether")
    parser.add_argument("--only", help="one target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", action="store_true", help="by coverage; needs atheris")
    parser.add_argument("--input", help="base64 of one input for the target")
    asked = parser.parse_args()
    if asked.guided and asked.only:
        import atheris

        with atheris.instrument_imports(include=["modelpress"]):
            import targets
    else:
        import targets
    chosen = [target for target in targets.targets() if asked.only in (None, target.name)]
    if not chosen:
        parser.error(f"--only {asked.only}: there is no such target")
    each = asked.seconds / len(chosen)
    for target in chosen:
        if asked.input is not None:
            print(target.run(base64.b64decode(asked.input)))
        elif asked.guided and asked.only:
            _guided(target, each)
        elif asked.guided:
            command = [sys.executable, __file__, "--guided", f"--only={target.name}", f"--seconds={each}"]
            print(f"→ {target.name}", flush=True)
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            print(
                "\n".join(line for line in done.stderr.splitlines() if line.startswith(("stat::number", "Done", " =")))
            )
            if done.returncode:
                sys.exit(done.stderr)
        else:
            result = run(target, seconds=each, seed=asked.seed)
            told = ", ".join(f"{name} {count:,}" for name, count in result.outcomes.most_common(6))
            print(
                f"{target.name:8} {result.inputs:9,} inputs, slowest {result.slowest * 1000:.0f} ms: {told}", flush=True
            )


if __name__ == "__main__":
    main()
