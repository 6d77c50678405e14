"""A servable gets from the store to the server's folder: checked, whole, and only once."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from modelpress.api import identity
from modelpress.api.artifact import ArtifactManifest, Candidate, Servable, SourceFound, Warmup
from modelpress.api.errors import Invalid
from modelpress.storage import fetch, layout, listing, tfrecord

VERSION = 1_790_000_000


def record(content):
    return struct.pack("<Q", len(content)) + b"crc1" + content + b"crc2"


def a_servable(artifact, path, content):
    directory = artifact / path
    directory.mkdir(parents=True)
    (directory / "model.tflite").write_bytes(content)
    files = listing.files(directory)
    return Servable(
        path=path,
        form="TFLite",
        digest=identity.content_digest(files),
        size_bytes=listing.served_bytes(files),
        files=files,
        signatures=("serving_default",),
    )


@pytest.fixture
def stored(tmp_path):
    """A store with one artifact `k`, and its manifest."""
    artifact = layout.opened(str(tmp_path / "store"), "vision").artifact("k")
    source = a_servable(artifact, f"source/{VERSION}", b"source")
    candidate = a_servable(artifact, f"candidates/1/{VERSION}", b"candidate")
    (artifact / "warmup").mkdir()
    (artifact / "warmup" / "requests").write_bytes(b"".join(record(b"request %d" % n) for n in range(3)))
    manifest = ArtifactManifest(
        key="k",
        created=VERSION,
        source=SourceFound(uri="m", digest="d", format="SavedModel", signatures=(), servable=source),
        candidates=(Candidate(index=1, recipe="quantize DynamicInt8", servable=candidate),),
        warmup=Warmup(path="warmup/requests", records=3, sha256="0" * 64),
    )
    (artifact / layout.MANIFEST).write_text(manifest.json_line())
    return manifest


@pytest.fixture
def order(stored, tmp_path):
    def make(**changes):
        options = {
            "store": str(tmp_path / "store"),
            "namespace": "vision",
            "artifact": "k",
            "servable": "candidates/1",
            "digest": stored.candidates[0].servable.digest,
            "model": "resnet",
            "into": tmp_path / "models",
        }
        return fetch.Order(**{**options, **changes})

    return make


def test_a_candidate_is_copied_under_the_models_name_and_version(order, tmp_path):
    directory = fetch.fetch(order())
    assert directory == tmp_path / "models" / "resnet" / str(VERSION)
    assert (directory / "model.tflite").read_bytes() == b"candidate"
    assert not (directory / "assets.extra").exists()


def test_the_source_is_served_by_its_own_digest(order, stored):
    directory = fetch.fetch(order(servable="source", digest=stored.source.servable.digest))
    assert (directory / "model.tflite").read_bytes() == b"source"


@pytest.mark.parametrize(("wanted", "copied"), [(0, 0), (2, 2), (50, 3)])
def test_only_so_many_warm_up_records_go_with_it(order, wanted, copied):
    path = fetch.fetch(order(warmup=wanted)) / "assets.extra" / fetch.WARMUP_FILE
    assert (path.read_bytes() if path.exists() else b"") == b"".join(record(b"request %d" % n) for n in range(copied))


def test_a_second_fetch_keeps_what_is_whole_and_replaces_what_is_not(order):
    directory = fetch.fetch(order(warmup=2))
    before = (directory / "model.tflite").stat().st_ino
    assert (fetch.fetch(order(warmup=2)) / "model.tflite").stat().st_ino == before
    (directory / "model.tflite").write_bytes(b"damaged!!")
    assert (fetch.fetch(order(warmup=2)) / "model.tflite").read_bytes() == b"candidate"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"artifact": "other"}, "ArtifactMissing"),
        ({"namespace": "speech"}, "ArtifactMissing"),
        ({"servable": "candidates/2"}, "ArtifactMissing"),
        ({"digest": "sha256:" + "0" * 64}, "DigestMismatch"),
        ({"digest": ""}, "DigestMismatch"),
        ({"store": "hdfs://models"}, "UnsupportedScheme"),
        ({"store": "hf://our/models"}, "ReadOnlyStore"),
    ],
)
def test_what_is_not_there_as_asked_is_refused(order, tmp_path, changes, reason):
    with pytest.raises(Invalid) as refused:
        fetch.fetch(order(**changes))
    assert refused.value.reason == reason
    assert not (tmp_path / "models").exists()


def test_changed_content_in_the_store_never_reaches_a_server(order, stored, tmp_path):
    artifact = layout.opened(str(tmp_path / "store"), "vision").artifact("k")
    (artifact / stored.candidates[0].servable.path / "model.tflite").write_bytes(b"CANDIDATE")
    with pytest.raises(Invalid) as refused:
        fetch.fetch(order())
    assert refused.value.reason == "DigestMismatch"
    assert list((tmp_path / "models" / "resnet").iterdir()) == []


@pytest.mark.parametrize("content", [b"\x01", record(b"abc")[:-2], struct.pack("<Q", 2**60) + b"crc1"])
def test_a_damaged_record_file_is_refused(tmp_path, content):
    (tmp_path / "records").write_bytes(content)
    with pytest.raises(Invalid, match="no complete TFRecord"):
        tfrecord.first(tmp_path / "records", 1)


def test_fetching_needs_no_tensorflow_and_no_numpy():
    code = (
        "import sys; import modelpress.storage.fetch; print([m for m in ('tensorflow', 'numpy') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
