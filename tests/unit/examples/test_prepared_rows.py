"""What the examples make of real recordings and sources before a model sees them."""

from __future__ import annotations

import importlib.util
import io
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.io.wavfile

EXAMPLES = Path(__file__).parents[3] / "examples"


def script(example: str) -> ModuleType:
    """The example's prepare.py."""
    name = f"prepare_{example.replace('-', '_')}"
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / example / "prepare.py")
    module = importlib.util.module_from_spec(specification)
    before = list(sys.path)
    specification.loader.exec_module(module)
    sys.path[:] = before
    return module


def an_archive(folder: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(folder / "archive.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder / "archive.tar.gz"


@pytest.fixture(scope="module")
def crepe() -> ModuleType:
    return script("crepe")


@pytest.fixture(scope="module")
def guesslang() -> ModuleType:
    return script("guesslang")


def test_a_recording_is_heard_at_the_rate_that_the_model_knows(crepe, tmp_path):
    seconds = np.arange(44100) / 44100
    wav = io.BytesIO()
    scipy.io.wavfile.write(wav, 44100, (16384 * np.sin(2 * np.pi * 440 * seconds)).astype(np.int16))
    archive = an_archive(tmp_path, {str(crepe.singing.SONG): wav.getvalue()})
    heard = crepe.singing.recording(archive, crepe.singing.SONG, crepe.RATE)
    assert heard.shape == (crepe.RATE,)
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.02)
    assert np.argmax(np.abs(np.fft.rfft(heard))) == 440


def test_moments_of_a_voice_are_centred_and_silence_is_left_out(crepe):
    silence = np.zeros(crepe.RATE)
    voice = 0.3 * np.sin(2 * np.pi * 220 * np.arange(crepe.RATE) / crepe.RATE) + 0.1
    found = crepe.moments(np.concatenate([silence, voice, silence]))
    assert found.dtype == np.float32 and found.shape[1] == crepe.SAMPLES
    assert 94 <= len(found) <= 108, "10 ms apart"
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=1), 1, atol=1e-5)


def test_a_source_is_cut_into_whole_lines_and_scraps_are_left_out(guesslang):
    lines = [b"let x = %d\0;\n" % number for number in range(10_000)]
    pieces = guesslang.cut(b"".join(lines))
    assert len(pieces) == guesslang.MOST_PIECES
    assert b"".join(lines).replace(b"\0", b"").startswith(b"".join(pieces))
    assert all(piece.endswith(b";\n") and guesslang.USUAL <= len(piece) < guesslang.USUAL + 20 for piece in pieces)
    assert guesslang.cut(b"x\n" * 100) == []
    assert [len(piece) for piece in guesslang.cut(b"x" * 9000)] == [guesslang.MOST]


def test_a_source_is_known_by_its_folder(guesslang, tmp_path):
    source = b"print('hello')\n" * 30
    names = ("python/a.py", "python/a.py.output", "brainfuck/b.bf", "rust/c.rs", "rust/deep/d.rs")
    archive = an_archive(tmp_path, {f"{guesslang.EXAMPLES}/{name}": source for name in names})
    assert list(guesslang.cut_all(archive)) == [(source, "py"), (source, "rs")]
