"""A queue: the name under which runs wait, and the bucket that limits how many run at once."""

from dataclasses import dataclass

from .errors import UsageError


@dataclass(frozen=True, slots=True)
class Queue:
    """`Queue("crm", concurrency=10)`: at most ten runs at once, over all workers. Several workflows may share one.

    - name: how it is called in the CLI, the API and the page.
    - concurrency: how many slots its bucket has; None (default) is as many as the workers have.

    A workflow without a queue has one of its own, named as the workflow. Raises UsageError for values that cannot be.
    """

    name: str
    concurrency: int | None = None

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 200 or any(c in self.name for c in "{}:") or not self.name.isprintable():
            raise UsageError(f"Queue({self.name!r}): a name is 1 to 200 printable characters, without {{ }} and :")
        if self.concurrency is not None and self.concurrency < 1:
            raise UsageError(f"Queue({self.name!r}, concurrency={self.concurrency}): it takes at least 1 slot")
