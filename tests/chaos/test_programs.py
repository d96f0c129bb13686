"""Random programs end as they are to, whatever happens to those who execute them, and whatever people do with them.

Two workers, one of processes and one of threads, and servers of their own. `--rounds 50` goes on for longer, and
`--seed 7` begins with another program; what fails names the seed of its program, which the fast tests of
`tests/semantics/test_programs.py` know as well.
"""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis as client
from celery import Celery
from processes import Process, Shop, wait_until
from programs import FLOWS, Generator, Play, bring, differences, ending, started

from celeriac import Celeriac, Run
from celeriac.deploy.embedded import EmbeddedPostgres, EmbeddedRedis
from celeriac.state import runs, steps
from celeriac.state.errors import StateUnavailable
from celeriac.state.migrate import migrate
from celeriac.state.status import MOVES
from celeriac.workflows.errors import CeleriacError
from celeriac.workflows.operate import repairs

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

HERE = Path(__file__).parent
AT_ONCE = 12  # programs that are started together
TIMES = 4  # so often in a round
SECONDS = 90  # until a round that is left in peace has ended
LEDGER = "create table ledger (run text not null, account text not null, amount int not null)"
SETTINGS = {"in_place_delay_seconds": 0.1, "terminate_grace_seconds": 0.5, "timeout_grace_seconds": 5}
FAULTS = ["child"] * 8 + ["worker", "threads", "hand-off", "hand-off", "redis", "redis", "postgres"]


class Storm:
    """The shop, its servers, and dice for what happens to them."""

    def __init__(self, shop: Shop, postgres: EmbeddedPostgres, redis: EmbeddedRedis, seed: int):
        self.shop, self.durable, self.postgres, self.redis = shop, shop.durable, postgres, redis
        self.dice, self.told = random.Random(seed), Counter[str]()
        shop.beat(**SETTINGS)
        self.workers = {pool: self._worker(pool) for pool in ("prefork", "threads")}
        self._leaving: list[Process] = []

    def start(self, seeds: range) -> dict[int, Run]:
        return {seed: started(Generator(seed).start()) for seed in seeds}

    def until_all_have_ended(self, roots: dict[int, Run], meanwhile: Callable[[], object] = lambda: None) -> None:
        """Brings what programs wait for, until none lives any more."""
        until = time.monotonic() + SECONDS
        while True:
            meanwhile()
            for pool, worker in self.workers.items():
                if not worker.is_running:  # a worker whose first process dies ends, and its supervisor starts it again
                    self.workers[pool] = self._worker(pool)
            with suppress(StateUnavailable):
                if not self._living():
                    return
                self._bring()
            if time.monotonic() > until:
                pytest.fail("\n".join(["does not end:", *self._tell_of_those_that_live(roots)]))
            time.sleep(0.05)  # the storm's own rhythm

    def blow(self, roots: dict[int, Run]) -> None:
        """Something breaks again and again, until all have ended."""
        next_at, until = time.monotonic(), time.monotonic() + 40

        def meanwhile() -> None:
            nonlocal next_at
            if next_at < time.monotonic() < until:
                self._break(self.dice.choice(FAULTS))
                next_at = time.monotonic() + self.dice.uniform(0.05, 0.7)

        self.until_all_have_ended(roots, meanwhile)

    def operate(self, roots: dict[int, Run], times: int = 150) -> None:
        """People do this and that with any of the runs, and in the end resume what they paused."""
        left, next_at = times, time.monotonic()

        def meanwhile() -> None:
            nonlocal left, next_at
            if left and next_at < time.monotonic():
                left -= 1
                next_at = time.monotonic() + self.dice.uniform(0, 0.1)
                with suppress(StateUnavailable):
                    self._do_something()
            if not left:
                for row in self.durable.database.all("select id from celeriac.runs where paused_at is not null"):
                    repairs.resume(self.durable, row["id"])

        self.until_all_have_ended(roots, meanwhile)

    def _worker(self, pool: str) -> Process:
        name = f"w{time.monotonic_ns()}@test"
        options = ["--concurrency", "4", "--pool", pool, "--", "-n", name, "-Q", "celery"]
        return self.shop._start("worker", options, SETTINGS)

    def _living(self) -> int:
        (row,) = self.durable.database.all("select count(*) as n from celeriac.runs where finished_at is null")
        return int(row["n"])

    def _bring(self) -> None:
        waiting = self.durable.database.all(
            "select s.* from celeriac.steps as s join celeriac.runs as r on r.id = s.run_id "
            "where s.status = 'waiting' and s.name like '%%asked %%' and r.finished_at is null"
        )
        bring(self.durable, [steps.StepRow.of(row) for row in waiting])

    def _break(self, what: str) -> None:
        self.told[what] += 1
        match what:
            case "child":
                pid = self.workers["prefork"].pid
                found = subprocess.run(["pgrep", "-P", str(pid)], check=False, capture_output=True, text=True)
                if children := found.stdout.split():
                    subprocess.run(["kill", "-9", self.dice.choice(children)], check=False)
            case "worker" | "threads":
                pool = "prefork" if what == "worker" else "threads"
                self.workers[pool].send_all(signal.SIGKILL)
                self.workers[pool] = self._worker(pool)
            case "hand-off":
                pool = self.dice.choice(list(self.workers))
                self.workers[pool].send(signal.SIGTERM)
                self._leaving.append(self.workers[pool])
                self.workers[pool] = self._worker(pool)
            case "redis":
                with client.Redis.from_url(self.redis.url) as redis:
                    redis.flushall()
            case "postgres":
                self.postgres.kill()
                self.postgres.start()

    def _do_something(self) -> None:
        rows = self.durable.database.all("select id, status from celeriac.runs order by random() limit 1")
        id, durable = rows[0]["id"], self.durable
        recorded = steps.of_run(durable.database, id)
        key = self.dice.choice(recorded).key if recorded else None
        what = self.dice.choice(["cancel", "terminate", "pause", "pause", "resume", "resume", "retry", "retry",
                                 "reschedule", "fork", "replay", "supply"])  # fmt: skip
        done: Any = None
        with suppress(CeleriacError):
            match what:
                case "cancel" | "terminate":
                    done = repairs.cancel(durable, id, terminate=what == "terminate")
                case "pause" | "resume" | "retry":
                    done = getattr(repairs, what)(durable, id)
                case "reschedule":
                    done = repairs.reschedule(durable, id, countdown=self.dice.choice([0, 0.3]))
                case "replay":
                    done = repairs.replay(durable, id)
                case "fork" if key:
                    done = repairs.fork(durable, id, key)
                case "supply" if key:
                    done = repairs.supply(durable, id, key, f"supplied {key}")
        if done is not None:
            self.told[what] += 1

    def _tell_of_those_that_live(self, roots: dict[int, Run]) -> Iterator[str]:
        seeds = {run.row.id: seed for seed, run in roots.items()}
        for row in self.durable.database.all("select id, root_id from celeriac.runs where finished_at is null"):
            run, why = runs.get(self.durable.database, row["id"]), self.durable.why(row["id"])
            assert run is not None
            yield f"{run.workflow} {run.id.hex} of seed {seeds.get(row['root_id'])}: {run.status}, {run.cause}"
            yield f"   {why.summary if why else ''}"
            if run.worker_id is not None:
                holder = "select * from celeriac.workers where id = %(id)s"
                yield f"   held by {self.durable.database.one(holder, id=run.worker_id)}"
            for move in runs.history(self.durable.database, run.id)[-12:]:
                yield f"   {move['at']:%H:%M:%S.%f} {move['from_status']} -> {move['to_status']}: {move['cause']}"
            for step in steps.of_run(self.durable.database, run.id):
                yield f"   {step.key} {step.kind} {step.status}"

    # --- What must be so afterwards

    def check_bodies(self) -> None:
        """No body began again after its checkpoint."""
        rows = self.durable.database.all(
            "select run_id, key, finished_at from celeriac.steps where finished_at is not null"
        )
        ended = {(row["run_id"].hex, row["key"]): row["finished_at"].timestamp() for row in rows}
        for line in self.shop.lines():
            run, key, what, began_at = json.loads(line)
            late = began_at - ended.get(
                (run, key), began_at
            )  # a child that its parent tried again forgets what it undid
            assert late <= 0, f"{what} of {run} began again {late:.3f} s after its checkpoint"

    def check_ledger(self) -> None:
        """What transactions wrote is there as often as they have a checkpoint: once, and once more for each attempt
        that did them anew. Left out is what can be undone: a child that is tried again does that anew, and forgets."""
        wrote = self.durable.database.all("select run, account, count(*) as times from ledger group by 1, 2")
        kept = self.durable.database.all(
            "select 'run_' || replace(run_id::text, '-', '') as run, split_part(output #>> '{}', ' ', 2) as account, "
            "count(*) as times from celeriac.steps "
            "where kind = 'transaction' and status = 'completed' and not is_compensable group by 1, 2"
        )
        times = {(row["run"], row["account"]): row["times"] for row in wrote}
        expected = {(row["run"], row["account"]): row["times"] for row in kept}
        assert expected == {place: times.get(place) for place in expected}

    def check_order(self) -> None:
        """Each history is a way through the state machine, nobody holds a slot, and no child outlives what it is to end
        with."""
        database = self.durable.database
        moves = {(move.source, move.target) for move in MOVES}
        told = database.all("select run_id, from_status, to_status from celeriac.run_history order by run_id, id")
        before: dict[UUID, str | None] = {}
        for row in told:
            assert (row["from_status"], row["to_status"]) in moves, row
            assert before.get(row["run_id"]) == row["from_status"], row
            before[row["run_id"]] = row["to_status"]
        assert [] == database.all(
            "select s.run_id, s.key from celeriac.steps as s join celeriac.runs as r on r.id = s.run_id "
            "where s.is_compensable and s.status = 'completed' and r.status in ('failed', 'cancelled', 'crashed') "
            "and coalesce(r.error ->> 'type', '') !~ 'CodeChanged' and (r.error -> 'not_undone' ->> s.key) is null "
            "and not exists (select from celeriac.steps as u where u.run_id = s.run_id and u.key = s.key || '#undo' "
            "    and u.status = 'completed')"
        ), "steps that were not undone"
        assert [] == database.all(
            "select id, status, output, error from celeriac.runs "
            "where output::text ~ 'NotItsOwn' or error ->> 'type' ~ 'NotItsOwn' or error ->> 'message' ~ 'NotItsOwn'"
        ), "what was given to another instruction"
        for queue in FLOWS:
            wait_until(lambda queue=queue: (held := self.durable.buckets.holding(queue)) is None or not held.slots)


@pytest.fixture
def options(request: pytest.FixtureRequest) -> tuple[int, int]:
    """How often programs are started, and the seed of the first of them."""
    return TIMES * request.config.getoption("--rounds"), request.config.getoption("--seed")


@pytest.fixture
def storm(tmp_path: Path, nursery: Any, options: tuple[int, int]) -> Iterator[Storm]:
    postgres = EmbeddedPostgres(tmp_path / "postgres").start()
    redis = EmbeddedRedis(tmp_path / "redis", appendonly=False).start()
    app = Celery("tests of programs", broker=redis.url, set_as_current=False)
    app.conf.update({"celeriac_database_url": postgres.url, "celeriac_redis_url": redis.url})
    durable = Celeriac(app)
    migrate(durable.database)
    durable.database.all(LEDGER)
    (tmp_path / "shop").mkdir()
    shop = Shop(durable, nursery, HERE / "programs_shop.py", tmp_path / "shop")
    try:
        yield Storm(shop, postgres, redis, options[1])
    finally:
        print(shop.logs()[-20_000:])
        shop.end()
        durable.close()
        redis.stop()
        postgres.kill()


def test_programs_end_whatever_breaks_as_they_do_when_nothing_does(storm: Storm, options: tuple[int, int]) -> None:
    rounds, first = options
    for seed in range(first, first + rounds * AT_ONCE, AT_ONCE):
        seeds = range(seed, seed + AT_ONCE)
        expected = {each: Play(Generator(each).start()).ending() for each in seeds}
        roots = storm.start(seeds)
        storm.blow(roots)
        found = {each: ending(storm.durable, run.row.id) for each, run in roots.items()}
        told = {each: differences(expected[each], found[each]) for each in seeds}
        assert {} == {each: where for each, where in told.items() if where}
        storm.check_bodies()
        storm.check_ledger()
        storm.check_order()
    print(dict(storm.told))


def test_programs_end_in_order_whatever_people_do_with_them(storm: Storm, options: tuple[int, int]) -> None:
    rounds, first = options
    for seed in range(first, first + rounds * AT_ONCE, AT_ONCE):
        storm.operate(storm.start(range(seed, seed + AT_ONCE)))
        storm.check_order()
    print(dict(storm.told))
