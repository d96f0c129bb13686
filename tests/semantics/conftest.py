"""A worker and a beat of the shop for each kind of pool (four workers, where one has one slot), and what the chapters
ask of their runs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from databases import Databases
from nursery import Nursery
from processes import Process, Shop, wait_until

from celeriac import Celeriac, Run
from celeriac.deploy.embedded import EmbeddedRedis
from celeriac.state import runs, steps
from celeriac.state.database import Database
from celeriac.state.steps import StepRow
from celeriac.workflows import registry

HERE = Path(__file__).parent
LEDGER = "create table ledger (run text not null, account text not null, amount int not null)"
ROUTES = {"deploys.*": {"queue": "deploys"}, "crashes.*": {"queue": "crashes"}}  # as the shop has them
SOLO_WORKERS = 4  # of one slot each, as many as the other pools have slots in one worker
WORDS = {
    "in_place_delay_seconds": 0.1,
    "terminate_grace_seconds": 0.5,
    "timeout_grace_seconds": 0.5,
    "public_url": "https://runs.example.org",
}


class Stage(Shop):
    """The shop of this ring at work, and its runs as the tests read them."""

    def chapter(self, name: str, pool: str, **environ: str) -> Process:
        """A worker for the runs of one chapter alone, with this environment."""
        given, self._environ = self._environ, {**self._environ, **environ, "CHAPTER": name}
        try:
            return self.worker("-Q", name, pool=pool, concurrency=4, **WORDS)
        finally:
            self._environ = given

    def start(self, workflow: str, *, options: dict[str, Any] | None = None, **payload: Any) -> Run:
        return self.durable.trigger(workflow, payload, **(options or {}))

    def result(self, workflow: str, **payload: Any) -> Any:
        return self.start(workflow, **payload).result(timeout=20)

    def ended(self, run: Run, seconds: float = 20) -> Run:
        return run.wait(seconds)

    def until(self, run: Run, status: str) -> Run:
        """The run, once it has this status."""
        wait_until(lambda: run.refresh().status == status)
        return run

    def bodies(self, run: Run) -> list[str]:
        """What the bodies of this run noted, in order."""
        return [line.split(maxsplit=2)[2] for line in self.lines() if line.startswith(run.id)]

    def until_noted(self, run: Run, word: str, count: int = 1) -> int:
        """The process that noted this word last, once it was noted so often."""
        wait_until(lambda: self.bodies(run).count(word) >= count)
        found = [line.split(maxsplit=2) for line in self.lines() if line.startswith(run.id)]
        return int([pid for _, pid, noted in found if noted == word][-1])

    def open(self, run: Run, *gates: str) -> None:
        for gate in gates:
            self.open_gates(f"{run.id} {gate}")

    def steps(self, run: Run) -> dict[str, StepRow]:  # type: ignore[override]
        """Its checkpoints, in the order the code asked for them."""
        return {step.key: step for step in steps.of_run(self.durable.database, run.row.id)}

    def children(self, run: Run) -> list[Run]:
        ids = self.durable.database.all(
            "select id from celeriac.runs where parent_id = %(id)s order by created_at, id", id=run.row.id
        )
        return [found for row in ids if (found := self.durable.get(row["id"]))]

    def hooks(self, run: Run) -> list[Run]:
        """The runs that its end started, ended themselves."""
        rows = runs.of_source(self.durable.database, "hook", run.id)
        return [found.wait(20) for row in rows if (found := self.durable.get(row.id))]

    def causes(self, run: Run) -> list[str]:
        return [move["cause"] for move in runs.history(self.durable.database, run.row.id)]

    def ledger(self, run: Run) -> list[tuple[str, int]]:
        """What the run wrote to the shop's own table."""
        rows = self.durable.database.all("select account, amount from ledger where run = %(id)s order by 1", id=run.id)
        return [(row["account"], row["amount"]) for row in rows]


class Stages:
    """Makes stages, each with a database, a Redis and a client of its own."""

    def __init__(self, databases: Databases, nursery: Nursery, new_folder: Callable[[], Path]):
        self._databases, self._nursery, self._new_folder = databases, nursery, new_folder
        self._of_pool: dict[str, Stage] = {}
        self._made: list[tuple[Stage, EmbeddedRedis]] = []

    def of(self, pool: str) -> Stage:
        """That of a kind of pool, with a worker and a beat, which all chapters share."""
        if pool not in self._of_pool:
            self._of_pool[pool] = self.new()
            self._of_pool[pool].beat(**WORDS)
            for _ in range(SOLO_WORKERS if pool == "solo" else 1):
                self._of_pool[pool].worker("-Q", "celery", pool=pool, concurrency=4, **WORDS)
        return self._of_pool[pool]

    def new(self, **environ: str) -> Stage:
        """One where nobody works yet; keywords are its environment."""
        folder, url = self._new_folder(), self._databases.new()
        database = Database(url)
        database.all(LEDGER)
        database.close()
        redis = EmbeddedRedis(folder / "redis", appendonly=False).start()
        app = Celery("tests of semantics", broker=redis.url, set_as_current=False)
        app.conf.update({"celeriac_database_url": url, "celeriac_redis_url": redis.url, "task_routes": ROUTES})
        durable = Celeriac(app)
        registry.unbind(durable)  # a client: what other rings define is none of its business
        self._made.append((Stage(durable, self._nursery, HERE / "semantics_shop.py", folder, environ), redis))
        return self._made[-1][0]

    def end(self) -> None:
        for stage, redis in self._made:
            stage.end()
            stage.durable.close()
            redis.stop()
            self._databases.drop(stage.durable.settings.database_url)


@pytest.fixture(scope="session")
def stages(databases: Databases, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    stages = Stages(databases, nursery, lambda: tmp_path_factory.mktemp("stage"))
    yield stages
    stages.end()


POOLS = ["prefork", "threads", "gevent", pytest.param("solo", marks=pytest.mark.chaos)]


@pytest.fixture(scope="module", params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    """The kind of pool that a chapter is told on."""
    return str(request.param)


@pytest.fixture(scope="module")
def stage_of_the_pool(pool: str, stages: Stages) -> Stage:
    return stages.of(pool)


@pytest.fixture
def stage(stage_of_the_pool: Stage) -> Stage:
    """A worker of this pool, and a beat, that the chapters share."""
    return stage_of_the_pool


@pytest.fixture
def needs_processes(pool: str) -> None:
    """For what only a pool of processes can do."""
    if pool != "prefork":
        pytest.skip("a thread cannot be killed")
