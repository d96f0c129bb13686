"""`celeriac doctor`: looks at everything that a deployment needs, and says what to do where something is wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from urllib.parse import urlsplit
from urllib.request import urlopen

from ..api.access.credentials import is_loopback
from ..api.access.logins import BASIC, NONE, OIDC, mode_of
from ..state import workers
from ..state.migrate import pending
from ..workflows import Celeriac
from ..workflows.errors import CeleriacError
from .celery_checks import CeleryChecks

CLOCK_TOLERANCE_SECONDS = 5.0
ANSWER_SECONDS = 3.0


@dataclass(frozen=True)
class Finding:
    """One check: its verdict is `ok`, `warning` or `failed`, and `advice` says what was seen and what to do."""

    check: str
    verdict: str
    advice: str


def examine(durable: Celeriac) -> list[Finding]:
    """All checks, each for itself: one that fails does not hide the others."""
    celery = CeleryChecks(durable)
    checks: dict[str, Callable[[], tuple[str, str]]] = {
        "settings": lambda: _settings(durable),
        "login": lambda: _login(durable),
        "database": lambda: _database(durable),
        "migrations": lambda: _migrations(durable),
        "redis": lambda: _redis(durable),
        "clock": lambda: _clock(durable),
        "workers": lambda: _workers(durable),
        "strangers": celery.strangers,
        "prefetch": celery.prefetch,
        "pool": celery.pool,
        "names": celery.names,
        "serializers": celery.serializers,
        "results": celery.results,
        "visibility": celery.visibility,
        "mix": celery.mix,
        "versions": lambda: _versions(durable),
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append(Finding(name, *check()))
        except Exception as error:  # whatever a check meets is its finding
            findings.append(Finding(name, "failed", str(error)))
    return findings


def _settings(durable: Celeriac) -> tuple[str, str]:
    durable.settings.need("database_url")
    if durable.settings.secret_key:
        durable.settings.secret_keys()  # it says where one is short
    return "ok", "every name is known"


def _login(durable: Celeriac) -> tuple[str, str]:
    settings = durable.settings
    mode, url = mode_of(settings), settings.public_url
    is_public = bool(url) and not is_loopback(urlsplit(url).hostname or "")
    if (is_public or (url and mode != NONE)) and _is_readable_by_all(url):
        return "failed", f"{url} answers whoever asks, without a key: set CELERIAC_LOGIN, or mend the proxy"
    if mode == NONE and is_public:
        return "warning", f"nobody has to log in, so only this machine is served, and not {url}: set CELERIAC_LOGIN"
    if mode == NONE:
        return "ok", "nobody has to log in, and only this machine is served"
    told = f"by {mode}" + (", and read-only" if settings.read_only else "")
    if mode in (BASIC, OIDC) and is_public and not url.startswith("https://"):
        return "warning", f"{told}. Passwords and sessions go over {url} in the clear: use https"
    return "ok", told


def _is_readable_by_all(url: str) -> bool:
    """Whether it answers who brings nothing. What does not answer at all is no finding of this check."""
    try:
        with urlopen(f"{url.rstrip('/')}/api/v1/whoami", timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _database(durable: Celeriac) -> tuple[str, str]:
    row = durable.database.one("select current_setting('server_version_num')::int as version")
    assert row is not None
    major = row["version"] // 10000
    return ("ok" if major >= 13 else "failed"), f"Postgres {major}; 13 or newer is needed"


def _migrations(durable: Celeriac) -> tuple[str, str]:
    if pending(durable.database):
        return "failed", "the tables are behind the code: run `celeriac migrate`"
    return "ok", "up to date"


def _redis(durable: Celeriac) -> tuple[str, str]:
    try:
        durable.buckets.ping()
    except CeleriacError:
        raise
    except Exception as error:
        return "failed", f"{error}. Triggers are accepted all the same, and start when it is back"
    return "ok", "answers"


def _clock(durable: Celeriac) -> tuple[str, str]:
    host = datetime.now(UTC)
    offset = abs((durable.database.now() - host).total_seconds())
    redis_offset = abs((durable.buckets.now() - host).total_seconds())
    if offset > CLOCK_TOLERANCE_SECONDS:
        return "warning", f"this host and the database differ by {offset:.0f} s; only log times suffer. Check NTP"
    if redis_offset > CLOCK_TOLERANCE_SECONDS:
        return "warning", (
            f"this host and Redis differ by {redis_offset:.0f} s: turns and rates go by Redis' clock, and jump when it "
            "is set. Check NTP on both"
        )
    return "ok", f"differs from the database's by {offset * 1000:.0f} ms, from Redis' by {redis_offset * 1000:.0f} ms"


def _workers(durable: Celeriac) -> tuple[str, str]:
    alive = workers.alive(durable.database)
    known = {name for worker in alive for name in worker["workflows"]}
    missing = sorted({workflow.name for workflow in durable.workflows()} - known)
    if missing:
        return "warning", f"no live worker executes {', '.join(missing)}: start `celeriac -A ... worker` with this code"
    return "ok", f"{len(alive)} alive, {sum(worker['slots'] for worker in alive)} slots"


def _versions(_: Celeriac) -> tuple[str, str]:
    told = ", ".join(f"{name} {version(name)}" for name in ("celeriac", "celery", "kombu", "redis", "sqlalchemy"))
    if version("celery") == "5.7.0":
        return (
            "ok",
            f"{told}; 5.7.0 exits when Redis is away while it holds work: Celeriac's consumer guards against it",
        )
    return "ok", told
