"""Real singing: two recordings of the vocadito data set, which come with the tests of basic-pitch."""

from __future__ import annotations

import io
import math
from pathlib import Path, PurePosixPath

import fetching
import numpy as np

ARCHIVE = fetching.Package(
    "basic-pitch",
    "0.4.0",
    "basic_pitch-0.4.0.tar.gz",
    "6f48ac4b909c990fd59460622137a03b857c829bb1f3e65c71708da576ab68e5",
    sdist=True,
)
ROOT = PurePosixPath("basic_pitch-0.4.0")
SONG, OTHER_SONG = (ROOT / "tests/resources" / f"vocadito_{number}.wav" for number in (10, 14))


def recording(archive: Path, song: PurePosixPath, rate: int) -> np.ndarray:
    """Samples [n] from -1 to 1 of type float64, so many a second."""
    import scipy.io.wavfile
    import scipy.signal

    recorded, samples = scipy.io.wavfile.read(io.BytesIO(fetching.read(archive, str(song))))
    common = math.gcd(recorded, rate)
    return np.asarray(scipy.signal.resample_poly(samples / 32768, rate // common, recorded // common))
