"""The disk tier on real files: restarts, kills, spoiled files, small and full disks."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.tiers.database import Database
from modelpress.sidecar.tiers.disk import Disk
from modelpress.sidecar.tiers.tier import Event

OURS, THEIRS = "sha256:" + "1" * 64, "sha256:" + "2" * 64
MIB = 2**20
HOUR = 3600.0


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def an_answer(number: int, size: int = 1000) -> Answer:
    return Answer(200, ((b"a", b"b"),), number.to_bytes(8, "big") * (size // 8), ())


@pytest.fixture
async def opened(tmp_path) -> AsyncIterator:
    """Opens disk tiers; each is closed at the end."""
    started: list[tuple[Disk, asyncio.Task]] = []

    async def start(directory: Path = tmp_path, size: int = 8 * MIB, artifact: str = OURS) -> Disk:
        disk = Disk(directory, artifact, size=lambda: size, patience=5.0)
        await disk.start()
        started.append((disk, asyncio.create_task(disk.store(lambda: HOUR))))
        return disk

    yield start
    for disk, task in started:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await disk.close()


async def fill(disk: Disk, numbers: range, size: int = 1000) -> None:
    for number in numbers:
        disk.keep(key(number), an_answer(number, size))
    await disk.flush()


async def kept(disk: Disk, numbers: range) -> list[int]:
    return [number for number in numbers if await disk.find(key(number), HOUR) is not None]


async def test_answers_survive_a_restart(opened):
    first = await opened()
    await fill(first, range(50))
    await first.close()
    second = await opened()
    assert [(await second.find(key(number), HOUR)).answer for number in range(50)] == [an_answer(n) for n in range(50)]
    assert second.database.entries == 50


async def test_answers_age_over_restarts_too(opened):
    disk = await opened()
    disk._now = lambda: time.time() - 100
    await fill(disk, range(1))
    disk._now = time.time
    assert await disk.find(key(0), 90) is None
    assert disk.events[Event.EXPIRED] == 1


WRITER = """
import sys
from pathlib import Path
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.tiers import record
from modelpress.sidecar.tiers.database import Database
database = Database(Path(sys.argv[1]), "sha256:x")
database.open()
number = 0
while True:
    batch = []
    for _ in range(16):
        key = number.to_bytes(32, "big")
        body = number.to_bytes(8, "big") * (1 + number * 37 % 9000)
        batch.append((key, record.encode(key, Answer(200, (), body, ()), born=1.0)))
        number += 1
    database.store(batch, 4 * 2**20)
    print(number, flush=True)
"""


def write_until_killed(directory: Path, written: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE) as writer:
        for line in writer.stdout:
            if int(line) >= written:
                break
        writer.send_signal(signal.SIGKILL)


async def test_a_kill_at_any_moment_leaves_no_torn_answer(opened, tmp_path):
    for written in (64, 200, 700):
        directory = tmp_path / str(written)
        write_until_killed(directory, written)
        disk = await opened(directory, 4 * MIB)
        found = {n: await disk.find(key(n), float("inf")) for n in range(written + 200)}
        whole = {n: one.answer.body for n, one in found.items() if one is not None}
        assert len(whole) > 30
        assert all(body == n.to_bytes(8, "big") * (1 + n * 37 % 9000) for n, body in whole.items())
        assert (disk.database.replaced, disk.events[Event.SPOILED]) == (0, 0)


async def test_files_never_outgrow_the_size_and_the_eldest_go(opened, tmp_path):
    disk = await opened(size=4 * MIB)
    for start in range(0, 3000, 100):
        await fill(disk, range(start, start + 100), 5000)
        assert sum(path.stat().st_size for path in tmp_path.iterdir() if not path.name.endswith("-shm")) <= 4 * MIB
    assert disk.database.used <= 4 * MIB
    found = await kept(disk, range(3000))
    assert len(found) > 500
    assert found == list(range(found[0], 3000))
    assert disk.database.evicted == 3000 - len(found)


async def test_what_was_asked_for_last_stays(opened):
    disk = await opened(size=4 * MIB)
    await fill(disk, range(100), 5000)
    for start in range(100, 1500, 20):
        assert await disk.find(key(7), HOUR) is not None
        await fill(disk, range(start, start + 20), 5000)
    assert await kept(disk, range(20)) == [7]


async def test_an_answer_larger_than_the_disk_is_not_kept(opened):
    disk = await opened(size=4 * MIB)
    await fill(disk, range(1), 5 * MIB)
    assert (disk.events[Event.FULL], await kept(disk, range(1))) == (1, [])


async def test_a_poisoned_record_is_a_miss_and_goes(opened, tmp_path, until):
    disk = await opened()
    await fill(disk, range(3))
    with sqlite3.connect(tmp_path / "answers.sqlite") as other:
        theirs = other.execute("select content from record join entry using (id) where key = ?", (key(1),)).fetchone()
        other.execute(
            "update record set content = ? where id = (select id from entry where key = ?)", (*theirs, key(0))
        )
    other.close()
    assert await kept(disk, range(3)) == [1, 2]
    assert disk.events[Event.SPOILED] == 1
    await until(lambda: disk.database.entries == 2)


@pytest.mark.parametrize("content", [b"no database at all" * 500, b""])
async def test_a_file_that_is_no_database_is_replaced(opened, tmp_path, content):
    (tmp_path / "answers.sqlite").write_bytes(content)
    disk = await opened()
    await fill(disk, range(3))
    assert await kept(disk, range(3)) == [0, 1, 2]


async def test_a_file_that_breaks_meanwhile_is_replaced(opened, tmp_path):
    disk = await opened()
    await fill(disk, range(200))
    await disk.close()
    path = tmp_path / "answers.sqlite"
    path.write_bytes(path.read_bytes()[:8192] + os.urandom(path.stat().st_size - 8192))
    again = await opened()
    for number in range(200):
        found = await again.find(key(number), HOUR)
        assert found is None or found.answer == an_answer(number)
    await fill(again, range(1000, 1003))
    await fill(again, range(1000, 1003))
    assert await kept(again, range(1000, 1003)) == [1000, 1001, 1002]


async def test_another_artifacts_answers_are_purged_alone(opened):
    ours = await opened()
    await fill(ours, range(5))
    theirs = await opened(artifact=THEIRS)
    await fill(theirs, range(5, 8))
    assert await ours.purge(THEIRS) == 3
    assert await kept(ours, range(8)) == [0, 1, 2, 3, 4]
    assert await ours.purge(None) == 5
    assert await kept(ours, range(8)) == []


@pytest.fixture
def full_disk(tmp_path, monkeypatch) -> Iterator[Path]:
    """A file system of 3 MiB where we may mount one, else SQLite told that there is no more."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(directory)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not mounted:
        connected = Database._connected

        def limited(database: Database) -> sqlite3.Connection:
            connection = connected(database)
            connection.execute(f"pragma max_page_count = {2 * MIB // 4096}")
            return connection

        monkeypatch.setattr(Database, "_connected", limited)
    yield directory
    if mounted:
        subprocess.run(["umount", "-l", str(directory)], check=True)


async def test_a_full_disk_is_survived(full_disk, opened):
    disk = await opened(full_disk, size=64 * MIB)
    for start in range(0, 2000, 100):
        await fill(disk, range(start, start + 100), 5000)
    found = await kept(disk, range(2000))
    assert len(found) > 50
    assert max(found) == 1999
    assert disk.database.full > 0
    for number in found:
        assert (await disk.find(key(number), HOUR)).answer == an_answer(number, 5000)
    assert disk.is_working


async def test_a_disk_without_a_byte_left_costs_no_answer_and_is_counted(full_disk, opened):
    filler = full_disk / "filler"
    disk = await opened(full_disk, size=64 * MIB)
    await fill(disk, range(20))
    try:
        with filler.open("wb") as opened_file:
            for _ in range(64):
                opened_file.write(bytes(MIB // 8))
                opened_file.flush()
    except OSError:
        pass
    await fill(disk, range(100, 2000), 5000)
    assert disk.events[Event.FULL] + disk.events[Event.DROPPED] + disk.database.evicted > 0
    for number in await kept(disk, range(2000)):
        expected = an_answer(number) if number < 100 else an_answer(number, 5000)
        assert (await disk.find(key(number), HOUR)).answer == expected
    filler.unlink(missing_ok=True)
    await fill(disk, range(3000, 3010))
    assert await kept(disk, range(3000, 3010))


async def test_a_directory_that_cannot_be_written_is_left_alone(opened, tmp_path):
    (tmp_path / "file").write_text("")
    disk = await opened(tmp_path / "file" / "below")
    await fill(disk, range(3))
    assert await kept(disk, range(3)) == []
    assert disk.events[Event.STORED] == 0
