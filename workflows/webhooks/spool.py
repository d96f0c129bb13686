"""Deliveries that came while Postgres was away, in a file: appended and fsynced before they are acknowledged, and
drained by the statement that stores every delivery, so that draining twice doubles nothing.

Each process appends to a file of its own, `<pid>-<random>.spool`. Whoever drains renames it first, so that appending
goes on in a new one. A frame is its length, the crc32 of its content, and that: a line of JSON, and the body. What a
process did not write to its end was not acknowledged, and is passed over.
"""

import fcntl
import json
import logging
import os
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from ...state import deliveries
from ...state.database import Executor
from ...state.deliveries import NewDelivery
from ..errors import StateUnavailable

log = logging.getLogger(__name__)

HEAD = struct.Struct(">II")  # length and crc32 of the content
ACTIVE, DRAINING = ".spool", ".draining"
AWAY_SECONDS = 0.5  # after a failure Postgres is not asked again for so long: a sender waits 3 s, a connect may take 5


class Spool:
    """The spool of one process. Safe to share between its threads; each process makes its own."""

    def __init__(self, folder: str, limit_bytes: int):
        self.folder = Path(folder)
        self._limit_bytes = limit_bytes
        self._writing, self._syncing = threading.Lock(), threading.Lock()
        self._file: BinaryIO | None = None
        self._path = self.folder
        self._written = self._synced = 0  # frames
        self._away_until = 0.0  # monotonic

    @property
    def is_away(self) -> bool:
        """Whether Postgres did not answer a moment ago."""
        return time.monotonic() < self._away_until

    def note_outage(self) -> None:
        self._away_until = time.monotonic() + AWAY_SECONDS

    def append(self, new: NewDelivery) -> None:
        """Writes a delivery down: when this returns it is on the disk. Raises StateUnavailable where it cannot be."""
        try:
            with self._writing:
                file = self._locked_file()
                try:
                    self._write(file, _frame(new))
                    self._written += 1
                    mine = self._written
                finally:
                    fcntl.flock(file, fcntl.LOCK_UN)
            with self._syncing:  # one fsync is for all that was written before it
                if self._synced < mine:
                    upto = self._written
                    os.fsync(file.fileno())
                    self._synced = upto
        except OSError as error:
            raise StateUnavailable(f"Postgres does not answer, and neither does the spool: {error}") from error

    def _locked_file(self) -> BinaryIO:
        """The file of this process, locked against those who drain it."""
        while True:
            if self._file is None:
                self._open()
            assert self._file is not None
            fcntl.flock(self._file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._path)):
                    return self._file
            fcntl.flock(self._file, fcntl.LOCK_UN)  # it was taken away to be drained
            self._file = None  # not closed here: another thread may be about to fsync it

    def _open(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = self.folder / f"{os.getpid()}-{secrets.token_hex(6)}{ACTIVE}"
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _write(self, file: BinaryIO, frame: bytes) -> None:
        size = os.fstat(file.fileno()).st_size
        if size + len(frame) > self._limit_bytes:
            raise OSError(f"{self._path} would be larger than its limit of {self._limit_bytes:,} bytes")
        view = memoryview(frame)
        try:
            while view:
                view = view[file.write(view) :]
        except OSError:
            os.ftruncate(file.fileno(), size)  # half a frame would hide those behind it
            raise


def drain(database: Executor, folder: str) -> int:
    """Stores what is in the spools, of this process and of others, also of dead ones: how many deliveries.

    Several may drain at once. Raises StateUnavailable; what was not stored stays.
    """
    place, stored = Path(folder), 0
    for path in sorted(place.glob(f"*{ACTIVE}")):
        with _locked(path, waits=True) as file:
            if file is not None:
                path.rename(path.with_suffix(f".{time.time_ns()}{DRAINING}"))
    for path in sorted(place.glob(f"*{DRAINING}"), key=lambda path: path.name.split(".")[-2]):
        with _locked(path, waits=False) as file:
            if file is None:
                continue
            for new in frames(file):
                deliveries.store(database, new)
                stored += 1
            path.unlink()
    return stored


def is_empty(folder: str) -> bool:
    """Whether there is nothing to drain."""
    return not any(path.suffix in (ACTIVE, DRAINING) for path in Path(folder).glob("*"))


def frames(file: BinaryIO) -> Iterator[NewDelivery]:
    """The deliveries of a spool, up to the first frame that is not whole."""
    while len(head := file.read(HEAD.size)) == HEAD.size:
        length, crc = HEAD.unpack(head)
        content = file.read(length)
        if len(content) < length or zlib.crc32(content) != crc:
            log.warning("%s ends within a frame, which nobody was promised", file.name)
            return
        told, _, body = content.partition(b"\n")
        values = json.loads(told)
        values["received_at"] = datetime.fromisoformat(values["received_at"]) if values["received_at"] else None
        yield NewDelivery(**values | {"id": UUID(values["id"]), "body": body})


def _frame(new: NewDelivery) -> bytes:
    values = asdict(new)
    del values["body"]
    content = json.dumps(values, default=str).encode() + b"\n" + new.body
    return HEAD.pack(len(content), zlib.crc32(content)) + content


@contextmanager
def _locked(path: Path, waits: bool) -> Iterator[BinaryIO | None]:
    """The file, locked. None: somebody else has it, or had it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            is_there = path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(path))
            yield file if is_there else None
    except (FileNotFoundError, BlockingIOError):
        yield None
