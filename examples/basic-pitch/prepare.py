"""Takes a model that nobody here made, basic-pitch (audio to notes), and its authors' own answer for a sung melody.

    python examples/basic-pitch/prepare.py

writes, beside this script: data/model/1 (the SavedModel as it was published), data/evaluation.npz (windows of the
melody, with the authors' notes, onsets and contour), data/calibration.npz (windows of another melody) and
data/requests.json.
"""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import fetching  # noqa: E402
import singing  # noqa: E402

MODEL = singing.ROOT / "basic_pitch/saved_models/icassp_2022/nmp"
MODEL_FILES = ("saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index")
GOLDEN = singing.ROOT / "tests/resources/vocadito_10/model_output.npz"

# As the authors' inference.py cuts a recording.
RATE, FRAME, WINDOW = 22050, 256, 43844
OVERLAP = 30
HOP = WINDOW - OVERLAP * FRAME
FRAMES = 172
KEPT = FRAMES - OVERLAP
"""Frames of a window that the authors keep; half of the overlap is cut at either end."""
PRESENT = 0.5
"""A score from which on a note, onset or contour is there."""


def main() -> None:
    """Fetch, cut, save."""
    archive = fetching.fetch(singing.ARCHIVE)
    fetching.prepare(HERE / "data", sources(archive), lambda folder: build(folder, archive))


def sources(archive: Path) -> list[Path]:
    """All that the result depends on."""
    return [Path(__file__), Path(singing.__file__), archive]


def build(folder: Path, archive: Path) -> None:
    """Everything that data/ holds."""
    for name in MODEL_FILES:
        path = folder / "model" / "1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fetching.read(archive, str(MODEL / name)))
    windows, others = (
        cut(singing.recording(archive, song, RATE).astype(np.float32)) for song in (singing.SONG, singing.OTHER_SONG)
    )
    answers = golden(fetching.read(archive, str(GOLDEN)))
    labels = {f"{name}_present": present(scores, len(windows)) for name, scores in answers.items()}
    np.savez_compressed(folder / "evaluation.npz", input_2=windows, **labels)
    np.savez_compressed(folder / "calibration.npz", input_2=others)
    request = {"instances": windows[1:2].tolist()}
    (folder / "requests.json").write_text(json.dumps(request) + "\n")


def cut(samples: np.ndarray) -> np.ndarray:
    """Overlapping windows [windows, samples, 1], silence before the start and after the end."""
    led = np.concatenate([np.zeros(OVERLAP // 2 * FRAME, np.float32), samples])
    starts = range(0, len(led), HOP)
    padded = np.concatenate([led, np.zeros(WINDOW, np.float32)])
    return np.stack([padded[start : start + WINDOW] for start in starts])[:, :, np.newaxis]


def golden(npz: bytes) -> dict[str, np.ndarray]:
    """The authors' answer: scores [frames of the whole recording, pitches] by output."""
    # A dictionary that its authors pickled; the archive's sha256 is pinned, so these are the bytes that were looked at.
    with np.load(io.BytesIO(npz), allow_pickle=True) as archive:
        return dict(archive["arr_0"].item())


def present(scores: np.ndarray, windows: int) -> np.ndarray:
    """The answer cut like the windows: 1 where a score says so, [windows, frames, pitches].

    Every frame of the answer comes from one window. Where windows overlap, the others get what that one said at the
    same moment; before the start and after the end there is silence.
    """
    found = (scores >= PRESENT).astype(np.float32)
    answer = np.zeros((windows, FRAMES, found.shape[1]), np.float32)
    for window in range(windows):
        for frame in range(FRAMES):
            row = answered_by(window, frame, windows)
            if 0 <= row < len(found):
                answer[window, frame] = found[row]
    return answer


def answered_by(window: int, frame: int, windows: int) -> int:
    """Row of the whole answer for a frame of a window; outside the answer where nothing was sung."""
    hop = HOP / FRAME
    owner = min(max(math.floor((window * hop + frame - OVERLAP // 2) / hop), 0), windows - 1)
    within = round((window - owner) * hop + frame) - OVERLAP // 2
    return owner * KEPT + within if within < KEPT else -1


if __name__ == "__main__":
    main()
