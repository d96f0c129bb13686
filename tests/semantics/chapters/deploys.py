"""Two releases of the same workflows. `RELEASE` in the environment says which one this process has: a new worker with
another value is a deploy. Each run waits for the deploy at its `receive()`."""

import os

from celeriac import patched, receive, step, workflow
from celeriac.workflows.errors import CeleriacError

from .journal import note

IS_NEW = os.environ.get("RELEASE") == "new"


def did(name: str) -> str:
    """An inline step that notes its name."""
    return step.run(name, lambda: note(name) and name)


@workflow(name="deploys.inserted", version="2" if IS_NEW else "1")
def inserted() -> list[str]:
    before = [did("inserted")] if IS_NEW else []
    done = [did("charge")]
    receive()
    return [*before, *done, did("ship")]


@workflow(name="deploys.renamed")
def renamed() -> str:
    did("pay" if IS_NEW else "charge")
    return receive()


@workflow(name="deploys.another-kind")
def another_kind() -> str:
    if IS_NEW:
        try:
            receive("charge")
        except CeleriacError:
            did("caught")
    else:
        step.run("message charge", lambda: "a step of this name")
    return receive()


@workflow(name="deploys.removed-wait")
def removed_wait() -> str:
    did("charge")
    if not IS_NEW:
        receive("approval")
    return did("ship")


@workflow(name="deploys.patched")
def with_a_patch() -> list[str]:
    done = [did("charge")]
    if IS_NEW and patched("fraud-check"):
        done.append(did("check"))
    receive()
    return [*done, did("ship")]


@workflow(name="deploys.late-patch")
def with_a_patch_further_down() -> list[str]:
    done = [did("charge"), receive()]
    if IS_NEW and patched("gift"):
        done.append(did("wrap"))
    return done


@workflow(name="deploys.hash")
def hashed() -> str:
    return receive()
