"""Connections to real servers by every kind of URL: passwords, databases, sockets, TLS, Sentinel and its failover."""

import json
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from select import select
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import redis
from celery import Celery

from celeriac import Celeriac
from celeriac.deploy.binaries import redis_binary
from celeriac.deploy.embedded import EmbeddedRedis
from celeriac.state.ids import new_id, public
from celeriac.workflows.dispatch.buckets import Ticket
from celeriac.workflows.dispatch.connection import connect, is_redis
from celeriac.workflows.dispatch.publisher import Publisher
from celeriac.workflows.errors import UsageError

STRANGE = "p@ss:w/ö r;d#?%41&+=[x]"  # every character that means something in a URL
SECRET = "hunter2"
MASTER = {"master_name": "shop"}
CLOSED = "127.0.0.1:9"  # a port where nobody listens


class Node(EmbeddedRedis):
    """A server with lines of configuration of its own."""

    def __init__(self, data_dir: Path, *lines: str):
        data_dir.mkdir()
        (data_dir / "password").write_text(SECRET)
        super().__init__(data_dir, appendonly=False)
        self._lines = lines

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def run_id(self) -> str:
        with redis.Redis.from_url(self.url) as client:
            return str(client.info("server")["run_id"])

    def ask(self, *command: str) -> Any:
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def _prepare(self, lock: int) -> None:
        super()._prepare(lock)
        with self._secrets_file.open("a") as file:
            file.writelines(f"{line}\n" for line in self._lines)


class SentinelNode(Node):
    """A sentinel that takes a master for dead after a third of a second, and decides alone."""

    def __init__(self, data_dir: Path, master_port: int, dead_after_ms: int = 300):
        super().__init__(
            data_dir,
            f"sentinel monitor shop 127.0.0.1 {master_port} 1",
            f"sentinel auth-pass shop {SECRET}",
            f"sentinel down-after-milliseconds shop {dead_after_ms}",
            "sentinel failover-timeout shop 3000",
        )

    def _prepare(self, lock: int) -> None:
        super()._prepare(lock)
        with self._secrets_file.open("a") as file:
            file.write(f"port {self.port}\nbind 127.0.0.1\ndir {self.data_dir}\n")

    def _command(self) -> list[str]:
        return [redis_binary(), str(self._secrets_file), "--sentinel"]


class Shop:
    """A master, a replica and a sentinel."""

    def __init__(self, folder: Path):
        self.master = Node(folder / "master", f"masterauth {SECRET}", "repl-diskless-sync-delay 0").start()
        self.replica = Node(
            folder / "replica", f"masterauth {SECRET}", f"replicaof 127.0.0.1 {self.master.port}"
        ).start()
        self.sentinel = SentinelNode(folder / "sentinel", self.master.port).start()
        until(lambda: self.replica.ask("INFO", "replication")["master_link_status"] == "up")
        until(lambda: len(self.sentinel.ask("SENTINEL", "REPLICAS", "shop")) == 1)

    @property
    def url(self) -> str:
        return f"sentinel://:{SECRET}@{self.sentinel.address}"

    @property
    def options(self) -> dict[str, Any]:
        return {**MASTER, "sentinel_kwargs": {"password": SECRET}}

    def connect(self, **options: Any) -> redis.Redis:
        return connect(self.url, 2.0, transport_options=self.options, **options)

    def await_switch(self, cause: Callable[[], Any]) -> None:
        """Returns when the sentinel has said that the replica is the master now."""
        with redis.Redis.from_url(self.sentinel.url) as client, client.pubsub() as listener:
            listener.subscribe("+switch-master")
            until(lambda: listener.get_message(timeout=1))
            cause()
            until(lambda: listener.get_message(timeout=1))

    def stop(self) -> None:
        for server in (self.sentinel, self.replica, self.master):
            server.stop()


class TlsProxy(socketserver.ThreadingTCPServer):
    """Ends TLS before a server that has none."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, certificate: Path, key: Path, port: int):
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate, key)
        self.behind = port
        super().__init__(("127.0.0.1", 0), TlsHandler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class TlsHandler(socketserver.BaseRequestHandler):
    server: TlsProxy

    def handle(self) -> None:
        with suppress(OSError), ExitStack() as stack:  # a client may refuse the certificate, or go away
            outer = stack.enter_context(self.server.context.wrap_socket(self.request, server_side=True))
            inner = stack.enter_context(socket.create_connection(("127.0.0.1", self.server.behind)))
            while True:
                for source in [outer] if outer.pending() else select([outer, inner], [], [])[0]:
                    if not (data := source.recv(65536)):
                        return
                    (inner if source is outer else outer).sendall(data)


def until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true value of `holds`, for which Redis may be away for a while."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(redis.RedisError):
            if value := holds():
                return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.01)


@contextmanager
def proxied(server: Node, certificate_and_key: tuple[Path, Path]) -> Iterator[TlsProxy]:
    with TlsProxy(*certificate_and_key, server.port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for this machine, and its key."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("needs the program openssl, to make a certificate")
    file, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            openssl, "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
            "-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-keyout", str(key), "-out", str(file),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return file, key


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("connection")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Node]:
    """One that also listens on a unix socket, and knows a user with a strange name and password."""
    with Node(folder / "server", f"unixsocket {folder / 'redis.sock'}") as server:
        server.ask("ACL", "SETUSER", "w@lf:/", "on", f">{STRANGE}", "~*", "&*", "+@all")
        server.ask("ACL", "SETUSER", "shy", "on", f">{SECRET}", "~*", "+@all", "-info")
        yield server


@pytest.fixture(scope="module")
def sentinel(folder: Path, server: Node) -> Iterator[SentinelNode]:
    """One that watches `server`."""
    with SentinelNode(folder / "sentinel", server.port) as sentinel:
        yield sentinel


@pytest.fixture(scope="module")
def right(folder: Path) -> tuple[Path, Path]:
    return certificate(folder, "right")


@pytest.fixture(scope="module")
def wrong(folder: Path) -> tuple[Path, Path]:
    return certificate(folder, "wrong")


@pytest.fixture(scope="module")
def tls_port(server: Node, right: tuple[Path, Path]) -> Iterator[int]:
    """A port where `server` speaks TLS, with the certificate `right`."""
    with proxied(server, right) as proxy:
        yield proxy.port


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes the clients of a test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.stop()


def found(url: str, **options: Any) -> str | None:
    """What a client of this URL finds under a key that this test wrote in database 3 of the server."""
    with connect(url, 2.0, **options) as client:
        return client.get("where")  # type: ignore[return-value]


@pytest.fixture
def where(server: Node) -> str:
    """The name of database 3, which stands in it."""
    with redis.Redis.from_url(server.url.removesuffix("/0") + "/3") as client:
        client.set("where", value := uuid4().hex)
    return value


@pytest.mark.parametrize("tail", ["/3", "/3/", "?db=3", "/%33", "/1?db=3", "/3?socket_timeout=1.5&client_name=me"])
def test_the_database_stands_in_the_path_or_in_the_query(server: Node, where: str, tail: str) -> None:
    assert where == found(f"redis://:{SECRET}@{server.address}{tail}")
    assert where == found(f" REDIS://:{SECRET}@{server.address}{tail} ")


@pytest.mark.parametrize("tail", ["", "/", "//", "/0"])
def test_without_a_number_it_is_database_0(server: Node, where: str, tail: str) -> None:
    assert None is found(f"redis://:{SECRET}@{server.address}{tail}")


def test_user_and_password_are_quoted_as_in_every_url(
    server: Node, sentinel: SentinelNode, folder: Path, where: str
) -> None:
    who = f"{quote('w@lf:/', safe='')}:{quote(STRANGE, safe='')}@"
    options = {"master_name": "shop", "sentinel_kwargs": {"password": SECRET}}
    assert where == found(f"redis://{who}{server.address}/3")
    assert where == found(f"unix://{who}{folder}/redis.sock?db=3")
    assert where == found(f"redis+socket://{who}{folder}/redis.sock?virtual_host=3")
    assert where == found(
        f"sentinel://{who}{sentinel.address}/3;sentinel://lena:wrong@{CLOSED}/1", transport_options=options
    )


def test_a_unix_socket_is_spelled_as_redis_py_or_as_kombu_does(server: Node, folder: Path, where: str) -> None:
    path = f"{folder}/redis.sock"
    assert where == found(f"unix://:{SECRET}@{path}?db=3")
    assert where == found(f"redis+socket://:{SECRET}@{path}?virtual_host=3")
    assert where == found(f"redis+socket://:{SECRET}@{path}?virtual_host=/3", use_ssl=True)  # which is for TCP
    assert None is found(f"redis+socket://:{SECRET}@{path}")


def test_credentials_come_from_a_provider_that_the_url_names(
    server: Node, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vault_of_this_test.py").write_text(
        "from redis import CredentialProvider\n"
        "class Vault(CredentialProvider):\n"
        f"    def get_credentials(self):\n        return ({SECRET!r},)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    url = f"redis://ignored:wrong@{server.address}/3?credential_provider=vault_of_this_test"
    assert where == found(f"{url}.Vault")
    with pytest.raises(UsageError, match=r"^the credential_provider of the URL of Redis is no class"):
        found(f"{url}.Wault")


@pytest.mark.parametrize("on_connect", [None, print])
def test_a_server_that_says_nothing_is_given_up_after_the_timeout(on_connect: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with connect(f"redis://127.0.0.1:{port_of(silent)}", 0.1, on_connect=on_connect) as client:
            with pytest.raises(redis.TimeoutError):
                client.ping()
            assert time.monotonic() - began < 1


def test_a_connection_that_the_server_closed_is_made_again(server: Node) -> None:
    told: list[str] = []
    with connect(server.url, 2.0, on_connect=told.append) as client:
        mine = client.client_id()
        server.ask("CLIENT", "KILL", "ID", str(mine))
        assert client.ping()
    assert [server.run_id] * 2 == told


def test_a_command_whose_connection_broke_is_sent_once_more(server: Node) -> None:
    def blocked() -> list[str]:
        return re.findall(r"^id=(\d+) .* cmd=blpop ", server.ask("CLIENT", "LIST"), re.MULTILINE)

    with connect(server.url, 5.0) as client, ThreadPoolExecutor() as threads:
        waiting = threads.submit(client.blpop, ["line"], 4)
        (first,) = until(blocked)
        server.ask("CLIENT", "KILL", "ID", first)
        until(lambda: blocked() not in ([], [first]))
        server.ask("RPUSH", "line", "next")
        assert ["line", "next"] == list(waiting.result())  # type: ignore[call-overload]


def test_each_new_connection_tells_the_servers_run_id(server: Node, opened: ExitStack, folder: Path) -> None:
    told: list[str] = []
    client = opened.enter_context(connect(server.url, 2.0, on_connect=told.append))
    assert [] == told
    for _ in range(3):
        client.ping()
    assert [server.run_id] == told
    listener = opened.enter_context(client.pubsub())  # type: ignore[no-untyped-call]
    listener.subscribe("news")  # on the connection that was idle
    client.ping()
    assert [server.run_id] * 2 == told
    unix = f"unix://:{SECRET}@{folder}/redis.sock"
    opened.enter_context(connect(unix, 2.0, on_connect=told.append)).ping()
    assert [server.run_id] * 3 == told


def test_a_server_that_was_started_again_has_another_run_id(tmp_path: Path, opened: ExitStack) -> None:
    told: list[str] = []
    server = opened.enter_context(Node(tmp_path / "server"))
    client = opened.enter_context(connect(server.url, 2.0, on_connect=told.append))
    client.ping()
    before = server.run_id
    server.restart()
    client.ping()
    assert [before, server.run_id] == told
    assert before != server.run_id


def test_a_server_that_refuses_info_tells_an_empty_run_id(server: Node) -> None:
    told: list[str] = []
    with connect(f"redis://shy:{SECRET}@{server.address}/3", 2.0, on_connect=told.append) as client:
        client.set("shy", "but here")
        assert "but here" == client.get("shy")
    assert [""] == told


def rediss(port: int, query: str = "") -> str:
    return f"rediss://:{SECRET}@127.0.0.1:{port}/3?{query}"


@pytest.mark.parametrize("reqs", ["CERT_REQUIRED", "required", "CERT_OPTIONAL", "optional"])
def test_the_query_names_the_authority_that_signed_the_servers_certificate(
    tls_port: int, right: tuple[Path, Path], wrong: tuple[Path, Path], where: str, reqs: str
) -> None:
    assert where == found(rediss(tls_port, f"ssl_cert_reqs={reqs}&ssl_ca_certs={right[0]}"))
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        found(rediss(tls_port, f"ssl_cert_reqs={reqs}&ssl_ca_certs={wrong[0]}"))


@pytest.mark.parametrize("reqs", ["CERT_NONE", "none"])
def test_a_certificate_is_not_verified_only_where_the_url_says_so(tls_port: int, where: str, reqs: str) -> None:
    assert where == found(rediss(tls_port, f"ssl_cert_reqs={reqs}"))
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        found(rediss(tls_port))


@pytest.mark.parametrize("reqs", [ssl.CERT_REQUIRED, "CERT_REQUIRED", "required"])
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_celerys_broker_use_ssl_says_the_same(
    tls_port: int, right: tuple[Path, Path], wrong: tuple[Path, Path], where: str, scheme: str, reqs: Any
) -> None:
    url = rediss(tls_port).replace("rediss", scheme)
    assert where == found(url, use_ssl={"ssl_cert_reqs": reqs, "ssl_ca_certs": str(right[0])})
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        found(url, use_ssl={"ssl_cert_reqs": reqs, "ssl_ca_certs": str(wrong[0])})


@pytest.mark.parametrize("reqs", [ssl.CERT_NONE, "CERT_NONE", "none", None])
def test_celerys_broker_use_ssl_may_leave_out_the_verification(tls_port: int, where: str, reqs: Any) -> None:
    assert where == found(rediss(tls_port), use_ssl={"ssl_cert_reqs": reqs})


def test_the_query_replaces_broker_use_ssl_as_in_kombu(
    tls_port: int, right: tuple[Path, Path], wrong: tuple[Path, Path], where: str
) -> None:
    url = rediss(tls_port, f"ssl_ca_certs={right[0]}")
    assert where == found(url, use_ssl={"ssl_ca_certs": str(wrong[0])})
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        found(rediss(tls_port, f"ssl_ca_certs={wrong[0]}"), use_ssl={"ssl_cert_reqs": "none"})


def test_broker_use_ssl_may_be_true_for_a_certificate_that_the_system_trusts(
    tls_port: int, right: tuple[Path, Path], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = rediss(tls_port).replace("rediss", "redis")
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        found(url, use_ssl=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(right[0]))
    assert where == found(url, use_ssl=True)


def test_a_connection_with_tls_tells_the_run_id_too(server: Node, tls_port: int) -> None:
    told: list[str] = []
    with connect(rediss(tls_port, "ssl_cert_reqs=none"), 2.0, on_connect=told.append) as client:
        client.ping()
    assert [server.run_id] == told


def test_a_client_certificate_is_shown_to_the_server(
    server: Node, right: tuple[Path, Path], wrong: tuple[Path, Path], where: str
) -> None:
    with proxied(server, right) as proxy:
        proxy.context.verify_mode = ssl.CERT_REQUIRED
        proxy.context.load_verify_locations(right[0])
        keys = {"ssl_certfile": str(right[0]), "ssl_keyfile": str(right[1])}
        assert where == found(rediss(proxy.port, f"ssl_cert_reqs=none&ssl_certfile={right[0]}&ssl_keyfile={right[1]}"))
        assert where == found(rediss(proxy.port), use_ssl={"ssl_cert_reqs": ssl.CERT_NONE, **keys})
        with pytest.raises(redis.RedisError):
            found(rediss(proxy.port, f"ssl_cert_reqs=none&ssl_certfile={wrong[0]}&ssl_keyfile={wrong[1]}"))


def test_sentinel_leads_to_a_master_that_speaks_tls(
    server: Node, tls_port: int, right: tuple[Path, Path], wrong: tuple[Path, Path], where: str, tmp_path: Path
) -> None:
    told: list[str] = []
    # Sentinel has no TLS here and so no connection to this master, but an hour until it takes that for its death.
    with SentinelNode(tmp_path / "sentinel", tls_port, dead_after_ms=3_600_000) as sentinel:
        url = f"sentinel://:{SECRET}@{sentinel.address}/3"
        options: Any = {"transport_options": {**MASTER, "sentinel_kwargs": {"password": SECRET}}}
        assert where == found(url, use_ssl={"ssl_ca_certs": str(right[0])}, on_connect=told.append, **options)
        assert where == found(f"{url}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={right[0]}", **options)
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            found(url, use_ssl={"ssl_ca_certs": str(wrong[0])}, **options)
    assert [server.run_id] == told


def test_the_name_of_the_master_may_stand_in_the_url(server: Node, sentinel: SentinelNode, where: str) -> None:
    options = {"transport_options": {"sentinel_kwargs": {"password": SECRET}}}
    assert where == found(f"sentinel://:{SECRET}@{sentinel.address}/3?master_name=shop", **options)
    assert where == found(
        f"sentinel://:{SECRET}@{sentinel.address}/3;sentinel://{CLOSED}?master_name=shop",
        transport_options={**options["transport_options"], "master_name": "another"},
    )
    with pytest.raises(
        redis.ConnectionError, match=r"^no master 'another' at 127.0.0.1:\d+: they see none that is up$"
    ):
        found(f"sentinel://{sentinel.address}?master_name=another", **options)


def test_a_sentinel_that_is_silent_or_away_is_passed_over(server: Node, sentinel: SentinelNode, where: str) -> None:
    options = {**MASTER, "sentinel_kwargs": {"password": SECRET}}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        url = f"sentinel://:{SECRET}@{CLOSED}/3;sentinel://127.0.0.1:{port_of(silent)};127.0.0.1:{sentinel.port};"
        with connect(url, 0.2, transport_options=options) as client:
            assert where == client.get("where")
    assert time.monotonic() - began < 2


def test_a_sentinel_that_sees_too_few_others_is_not_believed(sentinel: SentinelNode) -> None:
    options = {**MASTER, "sentinel_kwargs": {"password": SECRET}, "min_other_sentinels": 1}
    with (
        connect(f"sentinel://:{SECRET}@{sentinel.address}", 2.0, transport_options=options) as client,
        pytest.raises(redis.ConnectionError, match=r"^no master 'shop' at 127.0.0.1:\d+: they see none that is up$"),
    ):
        client.ping()


def test_sentinels_that_do_not_answer_are_named_in_a_short_error(sentinel: SentinelNode) -> None:
    url = f"sentinel://{CLOSED};sentinel://{sentinel.address}"
    options = {**MASTER, "sentinel_kwargs": {"password": "wrong"}}
    with connect(url, 2.0, transport_options=options) as client:
        with pytest.raises(redis.ConnectionError, match=r"^no master 'shop' at 127.0.0.1:9, 127.0.0.1:\d+: ") as told:
            client.ping()
        assert "ConnectionError, AuthenticationError" == str(told.value).rpartition(": ")[2]


def test_closing_a_client_closes_its_connections_to_the_sentinels(sentinel: SentinelNode) -> None:
    options = {**MASTER, "sentinel_kwargs": {"password": SECRET, "client_name": (name := uuid4().hex)}}
    with connect(f"sentinel://:{SECRET}@{sentinel.address}", 2.0, transport_options=options) as client:
        client.ping()
        assert name in sentinel.ask("CLIENT", "LIST")
    until(lambda: name not in sentinel.ask("CLIENT", "LIST"))


def test_a_client_goes_on_with_the_new_master_when_the_old_one_died(shop: Shop) -> None:
    told: list[str] = []
    with shop.connect(on_connect=told.append) as client:
        client.set("before", "1")
        client.execute_command("WAIT", "1", "5000")  # type: ignore[no-untyped-call]
        first = shop.master.run_id
        assert [first] == told
        shop.await_switch(shop.master.kill)
        assert "1" == until(lambda: client.get("before"))
        assert client.set("after", "2")
        assert [first, shop.replica.run_id] == told
    assert "2" == shop.replica.ask("GET", "after")


def test_a_client_leaves_a_master_that_became_a_replica(shop: Shop) -> None:
    told: list[str] = []
    with shop.connect(on_connect=told.append) as client:
        client.set("before", "1")
        shop.await_switch(lambda: until(lambda: shop.sentinel.ask("SENTINEL", "FAILOVER", "shop")))
        shop.master.ask("REPLICAOF", "127.0.0.1", str(shop.replica.port))  # as the sentinel would after eight seconds
        assert until(lambda: client.set("after", "2"))
        assert (shop.master.run_id, shop.replica.run_id) == (told[0], told[-1])
    assert "2" == shop.replica.ask("GET", "after")


@pytest.mark.parametrize(
    ("url", "is_known"),
    [
        ("redis://127.0.0.1", True),
        ("rediss://127.0.0.1", True),
        ("unix:///run/redis.sock", True),
        ("redis+socket:///run/redis.sock", True),
        ("sentinel://a:26379;sentinel://b:26379", True),
        (" Redis://127.0.0.1", True),
        ("amqp://guest@127.0.0.1//", False),
        ("memory://", False),
        ("redis", False),
        ("", False),
    ],
)
def test_whether_a_broker_is_redis_is_seen_by_its_scheme(url: str, is_known: bool) -> None:
    assert is_known is is_redis(url)


UNREADABLE = r"^cannot read the URL of Redis, {}://...: its port and its database are numbers; .* as %XX"
UNKNOWN = r"^the URL of Redis begins with none of redis://, rediss://, unix://, redis\+socket://, sentinel://$"
NO_MASTER = r"broker_transport_options = \{'master_name': ...\}, or add \?master_name=... to the URL$"
ODD_PROPERTY = r"^a property of the connection to Redis is unknown to redis-py: .* ssl_certfile and ssl_keyfile$"
ODD_OPTION = (
    r"^broker_transport_options: sentinel_kwargs are arguments of redis.Redis\(\), min_other_sentinels is a num"
)
ODD_REQS = r"^ssl_cert_reqs of Redis is one of CERT_REQUIRED, CERT_OPTIONAL and CERT_NONE$"


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        (f"amqp://user:{SECRET}@host", {}, UNKNOWN),
        (f"user:{SECRET}@host", {}, UNKNOWN),
        ("", {}, UNKNOWN),
        (f"redis://:a/{SECRET}@host", {}, UNREADABLE.format("redis")),
        (f"redis://:1/{SECRET}@host", {}, UNREADABLE.format("redis")),
        (f"redis://:{SECRET}#@host", {}, UNREADABLE.format("redis")),
        (f"redis://:{SECRET}?@host", {}, UNREADABLE.format("redis")),
        (f"redis://:[{SECRET}@host", {}, UNREADABLE.format("redis")),
        (f"redis://:\u2100{SECRET}@host", {}, UNREADABLE.format("redis")),
        (f"rediss://:{SECRET}@host:port", {}, UNREADABLE.format("rediss")),
        (f"redis://:{SECRET}@host/shop", {}, UNREADABLE.format("redis")),
        (f"redis://:{SECRET}@host?db=shop", {}, UNREADABLE.format("redis")),
        (f"redis+socket://:{SECRET}@/run/redis.sock?virtual_host=shop", {}, UNREADABLE.format(r"redis\+socket")),
        (f"sentinel://:a/{SECRET}@host", MASTER, UNREADABLE.format("sentinel")),
        (f"unix://:{SECRET}@", {}, r"^unix:// needs the path of a socket: unix:///run/redis.sock$"),
        (f"redis+socket://:{SECRET}@", {}, r"^redis\+socket:// needs the path of a socket: redis\+socket:///run/"),
        (
            f"redis://:{SECRET}@a;redis://:{SECRET}@b",
            {},
            r"^there are several URLs of Redis: set celeriac_redis_url to ",
        ),
        (f"sentinel://:{SECRET}@host", {}, NO_MASTER),
        (f"sentinel://:{SECRET}@host", {"master_name": ""}, NO_MASTER),
        (f"sentinel://:{SECRET}@host", {**MASTER, "sentinel_kwargs": {SECRET: 1}}, ODD_OPTION),
        (f"sentinel://:{SECRET}@host", {**MASTER, "min_other_sentinels": "few"}, ODD_OPTION),
        (f"sentinel://:{SECRET}@host", {**MASTER, "sentinel_kwargs": {"ssl_cert_reqs": "some"}}, ODD_REQS),
        (f"redis://:{SECRET}@host?{SECRET}=1", {}, ODD_PROPERTY),
        (f"sentinel://:{SECRET}@host?{SECRET}=1", MASTER, ODD_PROPERTY),
        (f"rediss://:{SECRET}@host?ssl_cert_reqs=some", {}, ODD_REQS),
    ],
)
def test_what_is_not_understood_is_refused_without_the_password(url: str, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        connect(url, 2.0, transport_options=options)
    assert SECRET not in str(refused.value)


def test_a_broker_use_ssl_for_another_broker_is_refused() -> None:
    with pytest.raises(UsageError, match=ODD_PROPERTY):
        connect("redis://host", 2.0, use_ssl={"ca_certs": "ca.pem"})
    with pytest.raises(UsageError, match=ODD_REQS):
        connect("redis://host", 2.0, use_ssl={"ssl_cert_reqs": "some"})


def test_no_password_stands_in_what_redis_says(server: Node) -> None:
    options = {**MASTER, "sentinel_kwargs": {"username": "lena", "password": SECRET}}
    for url in (
        f"redis://{SECRET}:{SECRET}@{server.address}",
        f"redis://:{SECRET}@{CLOSED}",
        f"sentinel://:{SECRET}@{CLOSED}",
    ):
        with connect(url, 2.0, transport_options=options) as client, pytest.raises(redis.RedisError) as told:
            client.ping()
        assert SECRET not in str(told.value)
        assert SECRET not in repr(client)


def published(url: str, **conf: Any) -> str:
    """Publishes a message as the dispatcher does, and returns the id of its task."""
    app = Celery("tests", broker=url, set_as_current=False)
    app.conf.update(conf)
    ticket = Ticket(run_id=new_id(), epoch=0, key="", workflow="greet")
    publisher = Publisher(app, 2.0)
    publisher.publish([ticket])
    publisher.close()
    return public("run", ticket.run_id)


def last_message(client: redis.Redis) -> str:
    """The id of the task whose message was published last."""
    (text,) = client.lrange("celery", 0, 0)  # type: ignore[misc]
    return str(json.loads(text)["headers"]["id"])


def test_the_broker_is_found_by_the_same_sentinel_url(shop: Shop) -> None:
    with shop.connect() as client:
        assert published(shop.url, broker_transport_options=shop.options) == last_message(client)
        shop.await_switch(shop.master.kill)
        assert published(shop.url, broker_transport_options=shop.options) == until(lambda: last_message(client))


def test_the_broker_is_found_by_the_same_rediss_url(tls_port: int, right: tuple[Path, Path]) -> None:
    url = rediss(tls_port, f"ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={right[0]}")
    with connect(url, 2.0) as client:
        assert published(url) == last_message(client)
    use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(right[0])}
    url = rediss(tls_port)
    with connect(url, 2.0, use_ssl=use_ssl) as client:
        assert published(url, broker_use_ssl=use_ssl) == last_message(client)


def ping_buckets(broker: str | list[str], **conf: Any) -> None:
    """Asks the Redis that a Celery app of this configuration has its buckets in."""
    app = Celery("tests", broker=broker, set_as_current=False)
    app.conf.update(conf)
    durable = Celeriac(app)
    try:
        durable.buckets.ping()
    finally:
        durable.close()


def test_buckets_are_in_the_broker_that_celery_has(
    server: Node, sentinel: SentinelNode, tls_port: int, right: tuple[Path, Path]
) -> None:
    by_sentinel = f"sentinel://:{SECRET}@{sentinel.address};sentinel://{CLOSED}"
    options = {**MASTER, "sentinel_kwargs": {"password": SECRET}}
    ping_buckets(by_sentinel, broker_transport_options=options)
    ping_buckets(by_sentinel.split(";"), broker_transport_options=options)
    ping_buckets("amqp://", celeriac_redis_url=by_sentinel, broker_transport_options=options)
    ping_buckets(rediss(tls_port), broker_use_ssl={"ssl_cert_reqs": "required", "ssl_ca_certs": str(right[0])})
    ping_buckets([server.url])
    with pytest.raises(UsageError, match=r"^there are several URLs of Redis: set celeriac_redis_url"):
        ping_buckets([server.url, server.url])


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])
