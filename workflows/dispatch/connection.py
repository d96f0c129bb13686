"""Clients of Redis by URL: every URL that Celery's Redis broker understands, with its spelling of TLS and Sentinel."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from kombu.utils.imports import symbol_by_name
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.credentials import UsernamePasswordCredentialProvider
from redis.retry import Retry as RedisRetry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool, SentinelManagedSSLConnection

from ..errors import UsageError

SCHEMES = ("redis", "rediss", "unix", "redis+socket", "sentinel")
UNIX_SCHEMES = ("unix", "redis+socket")
SENTINEL_PORT = 26379
HEALTH_CHECK_SECONDS = 30  # a connection that idled for longer gets a PING before it is used
CERT_REQS = ("required", "optional", "none")

Words = dict[str, Any]  # what redis-py calls the properties of a connection


def is_redis(url: str) -> bool:
    """Whether `connect` knows the scheme of this URL. Never raises."""
    return _scheme(url) in SCHEMES


def connect(
    url: str,
    timeout_seconds: float,
    *,
    transport_options: Mapping[str, Any] | None = None,
    use_ssl: Any = None,
    on_connect: Callable[[str], None] | None = None,
) -> redis.Redis:
    """A client for this URL, which decodes what it reads. It connects when it is first used.

    What fails for want of a connection is tried once more, at once. A failover of Sentinel is followed: a command that
    it meets may fail, and the next one goes to the new master.

    - `url`: `redis://`, `rediss://`, `unix://`, `redis+socket://`, or `sentinel://host:26379;sentinel://host2:26379`,
      where the first address has the user, password and database of the master.
    - `timeout_seconds`: to connect, and for each answer, of Redis and of each sentinel.
    - `transport_options`: as Celery's `broker_transport_options`. Those for Sentinel are read: `master_name` (required,
      or `?master_name=` in the URL), `min_other_sentinels` (default 0), and `sentinel_kwargs`, arguments of
      `redis.Redis` for the sentinels themselves, such as their `password` or `ssl`.
    - `use_ssl`: as Celery's `broker_use_ssl`: a dict of `ssl_cert_reqs`, `ssl_ca_certs`, `ssl_certfile` and
      `ssl_keyfile`, or True. The same names in the query of the URL replace it. Default: TLS for `rediss://` only.
      Certificates are verified unless `ssl_cert_reqs` says otherwise. A unix socket has no TLS.
    - `on_connect`: is told the server's `run_id` on each new connection, so also after a reconnect and a failover;
      "" where the server does not tell. In the thread that connects: it must neither raise nor use this client.

    Raises UsageError for a URL or an option that is not understood. No message holds a password.
    """
    scheme, addresses = _scheme(url), _addresses(url)
    words = _patience(timeout_seconds, retries=1)
    words |= {"decode_responses": True, "health_check_interval": HEALTH_CHECK_SECONDS}
    words["retry_on_error"] = [redis.ConnectionError, redis.TimeoutError]  # redis-py 5 does not take it from `retry`
    words["redis_connect_func"] = partial(_greet, on_connect)
    for address in reversed(addresses):
        words |= address
    words = _with_tls(scheme, words, use_ssl)
    if scheme == "sentinel":
        pool = _sentinel_pool(addresses, words, transport_options or {}, timeout_seconds)
    else:
        pool = redis.ConnectionPool(**words)
    _try_out(pool)
    return redis.Redis.from_pool(pool)


def sentinel_kwargs(transport_options: Mapping[str, Any], timeout_seconds: float) -> dict[str, Any]:
    """The `sentinel_kwargs` of Celery's transport options, with a timeout for each answer, and no second attempt.

    Without it redis-py waits long for a sentinel that is away, and may print its password. Raises UsageError.
    """
    given = transport_options.get("sentinel_kwargs") or {}
    return _patience(timeout_seconds, retries=0) | _with_credentials(_with_cert_reqs(given))


def _scheme(url: str) -> str:
    scheme, separator, _ = url.strip().partition("://")
    return scheme.lower() if separator else ""


def _addresses(url: str) -> list[Words]:
    """Each server of the URL: one of Redis, or any number of sentinels."""
    scheme, rest = _scheme(url), url.strip().partition("://")[2]
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise UsageError(f"the URL of Redis begins with none of {known}")
    if scheme == "sentinel":
        return [_words(scheme, each) for each in re.split(";(?:sentinel://)?", rest) if each]
    if re.search(";[a-z+]+://", rest):
        raise UsageError("there are several URLs of Redis: set celeriac_redis_url to one of them, or use sentinel://")
    return [_words(scheme, rest)]


def _words(scheme: str, address: str) -> Words:
    is_unix = scheme in UNIX_SCHEMES
    try:
        words: Words = parse_url(f"{'unix' if is_unix else 'redis'}://{address}")  # type: ignore[no-untyped-call]
        database = words.pop("virtual_host", "") if is_unix else unquote(urlsplit(f"//{address}").path)
        if database.strip("/"):
            words.setdefault("db", int(database.strip("/")))
    except ValueError:  # its text may hold a part of a password that was not quoted
        raise UsageError(
            f"cannot read the URL of Redis, {scheme}://...: its port and its database are numbers; in its user and "
            f"password, characters other than letters and digits are written as %XX (urllib.parse.quote(..., safe=''))"
        ) from None
    if is_unix and not words.get("path"):
        raise UsageError(f"{scheme}:// needs the path of a socket: {scheme}:///run/redis.sock")
    return _with_credentials(words)


def _with_credentials(words: Words) -> Words:
    """User and password as what redis-py never prints: before version 7 they stand in its errors about sentinels."""
    words = dict(words)
    user, password, provider = (words.pop(name, "") for name in ("username", "password", "credential_provider"))
    if isinstance(provider, str) and provider:
        try:
            provider = symbol_by_name(provider)()
        except (ImportError, AttributeError, ValueError):
            raise UsageError("the credential_provider of the URL of Redis is no class that can be imported") from None
    if provider or user or password:
        words["credential_provider"] = provider or UsernamePasswordCredentialProvider(user, password)
    return words


def _with_tls(scheme: str, words: Words, use_ssl: Any) -> Words:
    if scheme in UNIX_SCHEMES:
        return words
    tls = {name: value for name, value in words.items() if name.startswith("ssl_")}
    if not (tls or use_ssl or scheme == "rediss"):
        return words
    if not tls and isinstance(use_ssl, Mapping):
        tls = dict(use_ssl)
    connection_class = SentinelManagedSSLConnection if scheme == "sentinel" else redis.SSLConnection
    return {**words, **_with_cert_reqs(tls), "connection_class": connection_class}


def _with_cert_reqs(tls: Mapping[str, Any]) -> Words:
    """Celery writes CERT_NONE, redis-py none; the constants of `ssl` are known to both."""
    reqs = tls.get("ssl_cert_reqs")
    if not isinstance(reqs, str):
        return dict(tls)
    if (plain := reqs.lower().removeprefix("cert_")) not in CERT_REQS:
        raise UsageError("ssl_cert_reqs of Redis is one of CERT_REQUIRED, CERT_OPTIONAL and CERT_NONE")
    return {**tls, "ssl_cert_reqs": plain}


def _sentinel_pool(
    addresses: list[Words], words: Words, options: Mapping[str, Any], timeout_seconds: float
) -> redis.ConnectionPool:
    of_master = {name: value for name, value in words.items() if name not in ("host", "port", "master_name")}
    master_name = words.get("master_name") or options.get("master_name")
    if not master_name:
        raise UsageError(
            "sentinel:// needs the name of the master: set app.conf.broker_transport_options = "
            "{'master_name': ...}, or add ?master_name=... to the URL"
        )
    try:
        sentinel = _Sentinel(  # type: ignore[no-untyped-call]
            [(address.get("host", "localhost"), address.get("port", SENTINEL_PORT)) for address in addresses],
            min_other_sentinels=int(options.get("min_other_sentinels") or 0),
            sentinel_kwargs=sentinel_kwargs(options, timeout_seconds),
        )
    except (TypeError, ValueError):
        raise UsageError(
            "broker_transport_options: sentinel_kwargs are arguments of redis.Redis(), min_other_sentinels is a number"
        ) from None
    return _SentinelPool(master_name, sentinel, **of_master)  # type: ignore[no-untyped-call]


class _SentinelPool(SentinelConnectionPool):
    """Closes the connections to the sentinels when those to the master are closed."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        if inuse_connections:  # otherwise a failover was noticed
            for sentinel in self.sentinel_manager.sentinels:
                sentinel.close()


class _Sentinel(Sentinel):
    """With an error of one line: redis-py writes down all it knows of each sentinel."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            found: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
            return found
        except MasterNotFoundError as error:
            why = ", ".join(dict.fromkeys(re.findall(r"[A-Za-z]+Error", str(error))))
        asked = [each.connection_pool.connection_kwargs for each in self.sentinels]
        where = ", ".join("{host}:{port}".format(**each) for each in asked)
        raise MasterNotFoundError(f"no master {service_name!r} at {where}: {why or 'they see none that is up'}")


def _patience(timeout_seconds: float, retries: int) -> Words:
    """Once more, because a connection that idled may have been closed; of sentinels there are others to ask."""
    return {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": RedisRetry(NoBackoff(), retries),
    }


def _try_out(pool: redis.ConnectionPool) -> None:
    """Finds a name that redis-py does not know now, not at the first command. Connects to nothing."""
    try:
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError):
        raise UsageError(
            "a property of the connection to Redis is unknown to redis-py: see the query of its URL, "
            "and broker_use_ssl, which has ssl_cert_reqs, ssl_ca_certs, ssl_certfile and ssl_keyfile"
        ) from None


def _greet(on_connect: Callable[[str], None] | None, connection: Any) -> None:
    """What redis-py does with a new connection, and the question who the server is."""
    seconds, connection.health_check_interval = connection.health_check_interval, 0
    try:
        connection.on_connect()  # with health checks, a server that says nothing would be connected to again and again
    finally:
        connection.health_check_interval = seconds
    if on_connect is None:
        return
    connection.send_command("INFO", "server", check_health=False)
    try:
        told = str(connection.read_response())
    except redis.ResponseError:  # an ACL may refuse it
        told = ""
    run_id = re.search(r"^run_id:(\w+)", told, re.MULTILINE)
    on_connect(run_id[1] if run_id else "")
