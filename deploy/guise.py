"""As whom a server runs: Postgres refuses root, and root wants no system users added for it."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .binaries import EmbeddedError, postgres_binary

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Guise:
    """As whom a server runs: as we are, as another user (`uid`, `gid`), or as `inside` a user namespace of its own."""

    uid: int | None = None
    gid: int | None = None
    inside: pwd.struct_passwd | None = None

    def give(self, path: Path | str) -> None:
        """Makes the server's user the owner."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def works(self) -> bool:
        """Whether initdb can be run so on this machine."""
        try:
            told = subprocess.run(
                [postgres_binary("initdb"), "-V"],
                cwd="/",
                capture_output=True,
                check=False,
                user=self.uid,
                group=self.gid,
                extra_groups=None if self.uid is None else [],
                preexec_fn=before_exec(self, None),
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return told.returncode == 0


def guise_of(cluster: os.stat_result | None) -> Guise:
    """Postgres refuses root. Root makes and runs a cluster in a user namespace, else as `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return Guise()
    if cluster and cluster.st_uid != 0:  # made by a user, or as one: only this user may run it
        return Guise(cluster.st_uid, cluster.st_gid)
    guises = [_in_namespace()] if sys.platform == "linux" else []
    if cluster is None:
        users = {user.pw_name: user for user in pwd.getpwall()}
        guises += [Guise(users[name].pw_uid, users[name].pw_gid) for name in ("postgres", "nobody") if name in users]
    for guise in guises:
        if guise is not None and guise.works():
            return guise
    raise EmbeddedError(
        "Postgres does not run as root, and here root can neither use a user namespace nor let the users `postgres` or "
        "`nobody` run it: start this as another user, or set CELERIAC_DATABASE_URL to the URL of a server."
    )


def _in_namespace() -> Guise | None:
    # initdb looks its user up, so it must be one with a name; 65534 is what strangers look like inside.
    users = [user for user in pwd.getpwall() if user.pw_uid not in (0, 65534)]
    return Guise(inside=min(users, key=lambda user: user.pw_uid)) if users else None


def before_exec(guise: Guise, death_signal: signal.Signals | None) -> Callable[[], None] | None:
    """What the child does between fork and exec: enter its namespace, and die with its parent (Linux only)."""
    if sys.platform != "linux" or (guise.inside is None and death_signal is None):
        return None
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def prepare() -> None:
        if guise.inside is not None:
            _enter_namespace(libc, guise.inside)
        if death_signal is not None:  # after the namespace, whose change of credentials would clear it
            libc.prctl(PR_SET_PDEATHSIG, death_signal)
            if os.getppid() != parent:  # it died before we asked to be told
                os._exit(1)

    return prepare


def _enter_namespace(libc: ctypes.CDLL, user: pwd.struct_passwd) -> None:
    # The process is another user to itself, and root to the file system: nothing has to change its owner or mode,
    # also below a folder that only root may enter.
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user.pw_uid} 0 1")
    Path("/proc/self/gid_map").write_text(f"{user.pw_gid} 0 1")
