"""examples/fetching.py: only the pinned file is kept, and nothing is made twice."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import fetching
import pytest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fetching.Package:
    """A package on an index that is a folder."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "clothes-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("clothes/shirt.txt", "blue")
        archive.writestr("clothes-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: clothes\nVersion: 1.0\n")
        archive.writestr(
            "clothes-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("clothes-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("MODELPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return fetching.Package("clothes", "1.0", wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest())


def test_a_package_is_fetched_once_and_read_without_unpacking(package: fetching.Package, tmp_path: Path) -> None:
    kept = fetching.fetch(package)
    assert kept == tmp_path / "cache" / "downloads" / package.file
    (tmp_path / "index" / package.file).unlink()
    assert fetching.read(fetching.fetch(package), "clothes/shirt.txt") == b"blue"
    assert list(kept.parent.iterdir()) == [kept]


def test_another_file_than_the_pinned_one_is_not_kept(package: fetching.Package, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"{package.file} has sha256 {package.sha256}, expected 0000"):
        fetching.fetch(package._replace(sha256="0" * 64))
    assert not any((tmp_path / "cache" / "downloads").iterdir())


def test_a_missing_package_is_named_with_the_cure(package: fetching.Package) -> None:
    with pytest.raises(
        SystemExit, match=r"could not download clothes==2\.0; .* or put clothes-2\.0.* into .*downloads"
    ):
        fetching.fetch(package._replace(version="2.0", file="clothes-2.0-py3-none-any.whl"))


def test_what_was_prepared_is_copied_until_a_script_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPRESS_CACHE", str(tmp_path / "cache"))
    script, data, built = tmp_path / "prepare.py", tmp_path / "shirts" / "data", []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "model").write_text(script.read_text())

    for text in ("one", "one", "two"):
        script.write_text(text)
        fetching.prepare(data, [script], build)
        assert (data / "model").read_text() == text
    assert len(built) == 2


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELPRESS_CACHE", str(tmp_path / "cache"))
    script = tmp_path / "prepare.py"
    script.write_text("one")

    def build(folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fetching.prepare(tmp_path / "shirts" / "data", [script], build)
    assert not (tmp_path / "shirts").exists()
    assert [path.name for path in (tmp_path / "cache" / "examples").iterdir()] == ["shirts.lock"]
