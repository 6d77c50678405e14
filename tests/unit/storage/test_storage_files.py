"""Listings, copies and writes: digests are checked, nothing half-written is ever seen, links do not lead out."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading

import pytest
from rich.console import Console

from modelpress.api import identity
from modelpress.api.errors import Invalid
from modelpress.storage import durable, listing, transfer
from modelpress.telemetry.progress import Lines


def a_model(root):
    (root / "variables").mkdir(parents=True)
    (root / "saved_model.pb").write_bytes(b"graph")
    (root / "variables" / "v.data").write_bytes(b"weights")
    (root / "assets.extra").mkdir()
    (root / "assets.extra" / "warmup").write_bytes(b"x" * 100)
    return root


def no_space_after(monkeypatch, operation):
    """From now on the operation of `os` fails as on a full disk."""

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, operation, fail)


def test_a_listing_has_every_file_with_size_and_sha256(tmp_path):
    listed = listing.files(a_model(tmp_path / "m"))
    assert [file.path for file in listed] == ["assets.extra/warmup", "saved_model.pb", "variables/v.data"]
    assert listed[1].sha256 == hashlib.sha256(b"graph").hexdigest()
    assert listing.served_bytes(listed) == len(b"graph") + len(b"weights")


def test_equal_content_has_an_equal_digest_wherever_it_lies(tmp_path):
    first, second = a_model(tmp_path / "a"), a_model(tmp_path / "b" / "c")
    assert listing.content_digest(first) == listing.content_digest(second)
    (second / "saved_model.pb").write_bytes(b"grapH")
    assert listing.content_digest(first) != listing.content_digest(second)


def test_a_missing_path_is_named_with_its_field(tmp_path):
    with pytest.raises(Invalid, match="nothing is at") as refused:
        listing.files(tmp_path / "gone", field="spec.source.uri")
    assert (refused.value.reason, refused.value.field) == ("NotFound", "spec.source.uri")


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret", "/etc", "variables"])
def test_a_link_out_of_the_tree_or_to_a_directory_is_refused(tmp_path, target):
    (tmp_path / "secret").write_text("s")
    model = a_model(tmp_path / "m")
    (model / "link").symlink_to(target)
    with pytest.raises(Invalid) as refused:
        listing.files(model)
    assert refused.value.reason == "LinkLeavesTree"


def test_a_link_within_the_tree_is_read(tmp_path):
    model = a_model(tmp_path / "m")
    (model / "same.pb").symlink_to("saved_model.pb")
    assert {file.path: file.sha256 for file in listing.files(model)}["same.pb"] == hashlib.sha256(b"graph").hexdigest()


def test_the_highest_number_is_the_newest_version(tmp_path):
    for name in ("9", "10", "00000011", "latest", "12.bak"):
        (tmp_path / name).mkdir()
    (tmp_path / "99").write_text("a file, no version")
    newest = listing.newest_version(tmp_path)
    assert newest is not None
    assert newest.name == "00000011"


def test_a_copy_is_complete_and_checked(tmp_path):
    model = a_model(tmp_path / "m")
    listed = listing.files(model)
    transfer.copy(model, listed, tmp_path / "into" / "1")
    assert listing.content_digest(tmp_path / "into" / "1") == identity.content_digest(listed)


def test_progress_says_what_is_read_and_copied_and_how_much(tmp_path):
    root = a_model(tmp_path / "1795328721")
    console = Console(file=io.StringIO(), width=100)
    listed = listing.files(root, what="the source", progress=Lines(console))
    (tmp_path / "new").mkdir()
    transfer.copy_into(root, listed, tmp_path / "new", what="candidate 1", progress=Lines(console))
    told = console.file.getvalue()
    assert "→ Reading the source, 0.0 MiB" in told
    assert "→ Copying candidate 1, 0.0 MiB" in told
    assert root.name not in told


def test_a_copy_of_changed_content_is_refused_and_invisible(tmp_path):
    model = a_model(tmp_path / "m")
    listed = listing.files(model)
    (model / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(Invalid) as refused:
        transfer.copy(model, listed, tmp_path / "into" / "1")
    assert refused.value.reason == "DigestMismatch"
    assert list((tmp_path / "into").iterdir()) == []


def test_a_listing_that_climbs_out_of_its_directory_is_refused(tmp_path):
    model = a_model(tmp_path / "m")
    climbing = listing.files(model)[0].model_copy(update={"path": "../m/saved_model.pb"})
    with pytest.raises(Invalid) as refused:
        transfer.copy(model, (climbing,), tmp_path / "into")
    assert refused.value.reason == "InvalidListing"


@pytest.mark.parametrize("operation", ["fsync", "rename", "link"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing_behind(tmp_path, monkeypatch, operation):
    model = a_model(tmp_path / "m")
    listed = listing.files(model)
    (tmp_path / "store").mkdir()
    if operation == "rename":
        monkeypatch.setattr("pathlib.Path.rename", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    else:
        no_space_after(monkeypatch, operation)
    with pytest.raises(durable.StorageFull, match="no space is left"):
        if operation == "link":
            durable.create(tmp_path / "store" / "manifest.json", b"{}")
        else:
            transfer.copy(model, listed, tmp_path / "store" / "1")
    assert list((tmp_path / "store").iterdir()) == []


def test_of_many_writers_one_wins_and_the_others_adopt_its_content(tmp_path):
    path, seen = tmp_path / "manifest.json", []
    writers = [
        threading.Thread(target=lambda n=n: seen.append(durable.create(path, b"writer %d" % n))) for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert set(seen) == {path.read_bytes()}


def test_create_if_absent_also_works_where_hard_links_do_not(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "manifest.json"
    assert durable.create(path, b"first") == b"first"
    assert durable.create(path, b"second") == b"first"


def test_a_directory_under_construction_is_not_seen_and_a_failure_keeps_the_old_one(tmp_path):
    with durable.new_directory(tmp_path / "1") as directory:
        (directory / "a").write_text("1")
        assert not (tmp_path / "1").exists()
    with pytest.raises(ZeroDivisionError), durable.new_directory(tmp_path / "1") as directory:
        (directory / "a").write_text("2")
        raise ZeroDivisionError
    assert (tmp_path / "1" / "a").read_text() == "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]


def test_what_a_killed_writer_left_is_swept(tmp_path):
    (tmp_path / f"{durable.TEMPORARY_PREFIX}dead").mkdir()
    (tmp_path / "kept").mkdir()
    durable.sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
