"""What a run publishes while it runs."""

from celeriac import current_run, sleep, step, workflow

from .journal import held


@workflow(name="metadata.published")
def published() -> None:
    metadata = current_run().metadata
    metadata.set("customer", {"id": "c1"})
    metadata.progress(1, 3, "one of three")
    held("busy")
    metadata.remove("customer")


@workflow(name="metadata.replayed")
def replayed() -> dict[str, object]:
    metadata = current_run().metadata
    metadata.increment("rows", 2)
    metadata.append("log", "a")
    sleep(0.01)
    metadata.increment("rows", 3)
    metadata.append("log", "b")
    sleep(0.01)
    return dict(metadata)


@step
def edits() -> None:
    current_run().metadata.increment("in_a_body")


@workflow(name="metadata.leaf")
def leaf() -> None:
    edits()
    current_run().metadata.parent.increment("leaves")
    current_run().metadata.root.append("seen", "leaf")


@workflow(name="metadata.branch")
def branch() -> None:
    leaf.delay().result()


@workflow(name="metadata.root")
def root() -> None:
    branch.delay().result()
