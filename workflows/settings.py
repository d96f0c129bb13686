"""All settings: `CELERIAC_*` in the environment, or `app.conf.celeriac_*`; the environment wins."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import UsageError

PREFIX = "celeriac_"
SHORTEST_SECRET_KEY = 16  # characters


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set. Each field names its unit; its default stands behind it."""

    database_url: str = ""  # Postgres; needed by everything that starts or executes runs
    redis_url: str = ""  # ready queues and buckets; default: the Celery broker, where that is Redis
    public_url: str = ""  # of the API, as others reach it: https://runs.example.org; for the addresses of tokens
    api_key: str = ""  # Bearer key of the API; without one it serves the loopback interface only
    login: str = ""  # how people come to the page: none, key, basic, oidc, proxy; default: key with api_key, else none
    read_only: bool = False  # whether the API and the page change nothing; webhooks and callbacks still come in
    users: str = ""  # of the login basic, by commas: ada:operator:<hash>, as `celeriac user` prints them
    roles: str = (
        ""  # of the logins oidc and proxy, by commas: ada@example.org:admin, @example.org:viewer, group:ops:operator
    )
    session_hours: float = 12.0  # after which who logged in by basic or oidc logs in again
    oidc_issuer: str = ""  # of the login oidc: https://accounts.example.org
    oidc_client_id: str = ""
    oidc_client_secret: str = ""
    oidc_scope: str = "openid email profile"  # what is asked of the provider
    oidc_groups_claim: str = "groups"  # of the ID token, which has the groups that `roles` names
    proxy_addresses: str = ""  # networks, by commas, of the proxies whose X-Forwarded-* headers are believed
    proxy_hops: int = 1  # proxies in a row before the API, each of which appends to X-Forwarded-For
    proxy_headers: str = (
        "X-Forwarded-User,X-Forwarded-Email,X-Forwarded-Groups"  # of the login proxy: name, e-mail, groups
    )
    api_rate: str = ""  # requests that one key, or one address without a key, may send: "100/s", "6000/m"; none
    api_threads: int = 32  # of one API process: requests that it answers at once, see `celeriac api`
    cors_origins: str = ""  # pages that may read runs with the token of a run: https://shop.example.org, by commas
    # encrypts stored webhook secrets, signs sessions, run tokens and callbacks; several, by commas: the first is new
    secret_key: str = ""
    outbound_allow: str = ""  # hosts and networks, by commas, that webhooks are sent to though they are not public
    outbound_http: bool = False  # whether webhooks are sent to public addresses without TLS, too
    environment: str = ""  # which of several this is: production, staging; alerts say it, and may be for some only
    smtp_url: str = ""  # by which alerts send mail: smtps://user:password@host:465, smtp://host:587 (with STARTTLS)
    smtp_from: str = ""  # the address that such mail is from
    spool_dir: str = ""  # a folder that outlives the process, for webhook deliveries while Postgres is away
    spool_limit_bytes: int = 268_435_456  # of the spool of one API process
    payload_limit_bytes: int = 1_048_576  # JSON of one payload
    output_limit_bytes: int = 4_194_304  # JSON of one step's result, or a run's
    delivery_limit_bytes: int = 1_048_576  # raw body of one webhook delivery
    max_crashes: int = 5  # deaths of its worker without a checkpoint between, after which a run is `crashed`
    idempotency_ttl_seconds: float = 86_400.0 * 30  # how long an idempotency key is remembered
    replay_seconds: float = 86_400.0  # how long a request with an Idempotency-Key is given its answer again
    in_place_delay_seconds: float = 1.0  # a longer delay before a step's next attempt frees the worker
    heartbeat_seconds: float = 5.0  # between two signs of life of a worker
    heartbeat_timeout_seconds: float = 30.0  # silence after which a worker counts as lost, with its host
    timeout_grace_seconds: float = 10.0  # after its timeout a step that cannot be stopped is ended with its process
    terminate_grace_seconds: float = 30.0  # after its max_duration a run that does not end is terminated
    deaf_seconds: float = 60.0  # a consumer without progress for so long gets no more runs
    dispatch_window_factor: float = 2.0  # runs out in Celery's lists or executing, as a multiple of the workers' slots
    tail_call_seconds: float = 0.25  # how long a worker slot goes on with admitted runs of one message; 0: never
    retention_days: float = 30.0  # finished runs, ticks, events, stopped workers; a workflow may differ; 0: for ever
    delivery_retention_days: float = 30.0  # webhook deliveries; 0: for ever
    audit_retention_days: float = 90.0  # what the audit says, keys that are over; 0: for ever
    stream_limit: int = 200  # streams that one API process serves at once: each holds a thread of it
    stream_limit_per_client: int = 100  # of those for one key, or one name that came with it
    archive_folder: str = ""  # where runs and deliveries are written as JSON lines before they are deleted
    redis_timeout_seconds: float = 2.0  # for one command; a trigger is acknowledged without Redis, too
    log_level: str = "INFO"  # what logging says in a run from this level on is kept as the run's log; OFF: nothing
    log_stdout: bool = False  # whether what a run prints, to stdout or stderr, is kept in its log, too
    log_message_limit_characters: int = 16_384  # of one line; and of its fields, as JSON
    log_limit_bytes: int = 10_485_760  # of the log of one run
    log_retention_days: float = 14.0  # after which a day of logs is dropped
    span_retention_days: float = 14.0  # after which a day of spans that the shop's instrumentation made is dropped
    redact: str = "password,passwd,secret,token,api_key,apikey,secret_key,private_key,authorization,cookie"  # in logs

    @classmethod
    def load(cls, conf: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> "Settings":
        """Reads both sources. Raises UsageError for a name that is no setting, or a value of the wrong kind."""
        given: dict[str, Any] = {}
        for name in conf:
            if name.lower().startswith(PREFIX):
                given[name.lower().removeprefix(PREFIX)] = conf[name]
        for name, text in environ.items():
            if name.startswith(PREFIX.upper()):
                given[name.lower().removeprefix(PREFIX)] = text
        return cls(**{name: _value(name, value) for name, value in given.items()})

    def need(self, name: str) -> str:
        """The setting, or UsageError that says how to set it."""
        value = getattr(self, name)
        if not value:
            raise UsageError(
                f"{PREFIX}{name} is not set. Set {PREFIX.upper()}{name.upper()} in the environment or "
                f"app.conf.{PREFIX}{name}; `celeriac -A shop dev` starts servers of its own."
            )
        return str(value)

    def secret_keys(self) -> list[str]:
        """What the setting secret_key has, the newest first. Raises UsageError where it is missing, or one is short."""
        keys = [key.strip() for key in self.need("secret_key").split(",") if key.strip()]
        if not keys or any(len(key) < SHORTEST_SECRET_KEY for key in keys):
            raise UsageError(
                f"celeriac_secret_key is short: give {SHORTEST_SECRET_KEY} random characters or more for each key"
            )
        return keys


_KINDS: dict[str, Any] = {field.name: field.type for field in fields(Settings)}
_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _value(name: str, value: Any) -> Any:
    if name not in _KINDS:
        near = difflib.get_close_matches(name, _KINDS, n=1)
        hint = f": did you mean {PREFIX}{near[0]}?" if near else f". Known: {', '.join(PREFIX + k for k in _KINDS)}"
        raise UsageError(f"{PREFIX}{name} is no setting{hint}")
    if value is None and _KINDS[name] is str:
        return ""  # as os.environ.get(...) leaves it
    try:
        return _WORDS[str(value).lower()] if _KINDS[name] is bool else _KINDS[name](value)
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{PREFIX}{name}={value!r} should be {_KINDS[name].__name__}") from None
