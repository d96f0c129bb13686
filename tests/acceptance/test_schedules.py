"""Schedules with real processes: `celery beat` taken over, ticks while Redis is away, a beat that is killed."""

import signal
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from celeriac import Every
from celeriac.deploy.embedded import EmbeddedRedis
from celeriac.state import workflows

CELERY_BEAT = [sys.executable, "-m", "celery", "-A", "acceptance_shop", "beat", "-S", "celeriac.beat:Scheduler"]


def sent(shop) -> list[str]:
    """For which moments the plain task was executed."""
    return [line.split()[1] for line in shop.lines() if line.startswith("plain")]


@pytest.mark.alone
def test_celery_beat_with_our_scheduler_sends_plain_tasks_and_starts_workflows_once_a_tick(shop, wait_until):
    first, second = shop.run(CELERY_BEAT), shop.run(CELERY_BEAT)
    shop.worker()
    wait_until(lambda: len(sent(shop)) >= 2 and shop.ticks(), seconds=40)
    first.send(signal.SIGKILL)
    count = len(sent(shop))
    wait_until(lambda: len(sent(shop)) >= count + 2, seconds=5)  # the hot spare goes on
    second.send(signal.SIGTERM)
    assert 0 == second.wait(15)
    assert len(sent(shop)) == len(set(sent(shop)))
    ticks = shop.durable.schedule("plain").ticks()
    gaps = {(new["due_at"] - old["due_at"]).total_seconds() for new, old in pairwise(ticks)}
    assert {1.0} == gaps


def test_ticks_while_redis_is_away_are_recorded_and_start_when_it_is_back(
    make_shop, make_durable, tmp_path: Path, wait_until
):
    with EmbeddedRedis(tmp_path / "redis", appendonly=False) as server:
        shop = make_shop(make_durable(celeriac_redis_url=server.url))
        shop.beat()
        shop.worker()
        wait_until(lambda: any(row["name"] == "quick" for row in workflows.every(shop.durable.database)))
        mine = shop.durable.schedule("each second")
        mine.create("quick", Every(1), {"n": 1})
        wait_until(lambda: len(mine.ticks()) >= 2)
        server.kill()
        count = mine.row.ticks
        wait_until(lambda: mine.row.ticks >= count + 5, seconds=15)
        server.start()
        mine.pause()
        unfinished = "select count(*) as n from celeriac.runs where finished_at is null and source = 'schedule'"
        wait_until(lambda: shop.durable.database.one(unfinished)["n"] == 0, seconds=60)
    assert {"started"} == {tick["outcome"] for tick in mine.ticks()}


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_beat_that_is_told_to_stop_stops_at_once(shop, wait_until, number):
    beat = shop.beat()
    wait_until(lambda: shop.durable.database.one("select from celeriac.services") is not None)
    beat.send(number)
    assert 0 == beat.wait(5)
