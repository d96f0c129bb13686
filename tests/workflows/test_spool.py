"""The spool: what is in it survives the process, is stored once, and ends where a write was cut off."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from celeriac.state import deliveries, inbox
from celeriac.state.database import Database
from celeriac.state.deliveries import NewDelivery
from celeriac.state.ids import new_id
from celeriac.workflows.errors import StateUnavailable
from celeriac.workflows.webhooks.spool import Spool, drain, frames, is_empty

CLOSED = "postgresql://127.0.0.1:9/celeriac"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Spool:
    return Spool(str(folder), 1_000_000)


def delivery(key: str, body: bytes = b"{}") -> NewDelivery:
    at = datetime(2026, 11, 1, 12, tzinfo=UTC)
    headers = {"x-town": "Malm\u00f6", "content-type": "application/json"}
    return NewDelivery(
        id=new_id(), endpoint="shop", dedupe_key=key, headers=headers, body=body, event_type="t", received_at=at
    )


def stored(database: Database) -> list[tuple[str, bytes, datetime]]:
    found = [deliveries.get(database, row.id) for row in inbox.find(database, inbox.Filter(), 1000)]
    return sorted((row.dedupe_key, row.body, row.received_at) for row in found if row)


def test_what_is_appended_is_stored_as_it_came_and_the_file_goes(spool, folder, database):
    new = [delivery("a", b"\x00\n\xff"), delivery("b", b""), delivery("c", b'{"n": 1}\n')]
    for each in new:
        spool.append(each)
    assert 3 == drain(database, str(folder))
    assert [(each.dedupe_key, each.body, each.received_at) for each in new] == stored(database)
    assert is_empty(str(folder))
    assert 0 == drain(database, str(folder))


def test_the_file_is_for_its_owner_alone(spool, folder):
    spool.append(delivery("a"))
    (file,) = folder.iterdir()
    assert (0o600, 0o700) == (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777)


def test_draining_twice_doubles_nothing(spool, folder, database):
    spool.append(delivery("a"))
    (file,) = folder.iterdir()
    copy = file.read_bytes()
    assert 1 == drain(database, str(folder))
    file.write_bytes(copy)  # as if the process had died before it removed the file
    assert 1 == drain(database, str(folder))
    assert ["a"] == [key for key, _, _ in stored(database)]


def test_while_postgres_is_away_nothing_leaves_the_spool(spool, folder, database):
    spool.append(delivery("a"))
    away = Database(CLOSED)
    for _ in range(2):
        with pytest.raises(StateUnavailable):
            drain(away, str(folder))
    assert 1 == drain(database, str(folder))


def test_a_frame_that_was_cut_off_or_damaged_ends_the_spool(spool, folder):
    for key in "abc":
        spool.append(delivery(key))
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    third = whole.rindex(b'{"id"') - 8
    for size in range(third, len(whole)):
        file.write_bytes(whole[:size])
        with file.open("rb") as opened:
            assert ["a", "b"] == [each.dedupe_key for each in frames(opened)]
    damaged = bytearray(whole)
    damaged[third + 20] ^= 1
    file.write_bytes(damaged)
    with file.open("rb") as opened:
        assert ["a", "b"] == [each.dedupe_key for each in frames(opened)]


def test_a_full_spool_refuses_and_keeps_what_it_has(folder, database):
    small = Spool(str(folder), 800)
    small.append(delivery("a"))
    with pytest.raises(StateUnavailable, match="larger than its limit of 800 bytes"):
        small.append(delivery("b", b"x" * 1000))
    small.append(delivery("c"))
    assert 2 == drain(database, str(folder))


def test_a_disk_that_is_full_within_a_frame_leaves_no_half_of_it(spool, folder, database, monkeypatch):
    spool.append(delivery("a"))

    class Full:
        def __init__(self, file):
            self._file, self.fileno = file, file.fileno

        def write(self, data):
            self._file.write(data[:10])
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(spool, "_file", Full(spool._file))
        with pytest.raises(StateUnavailable, match="No space left"):
            spool.append(delivery("b"))
    spool.append(delivery("c"))
    assert 2 == drain(database, str(folder))
    assert ["a", "c"] == [key for key, _, _ in stored(database)]


def test_many_threads_append_while_it_is_drained_and_each_is_stored_once(spool, folder, database):
    keys = [f"k{index:03}" for index in range(300)]
    with ThreadPoolExecutor(9) as threads:
        appended = [threads.submit(spool.append, delivery(key)) for key in keys]
        while not all(each.done() for each in appended):
            drain(database, str(folder))
    for each in appended:
        each.result()
    drain(database, str(folder))
    assert keys == [key for key, _, _ in stored(database)]
    assert is_empty(str(folder))
