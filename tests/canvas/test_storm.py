"""A chord cannot hang: its workers are killed again and again, and Redis forgets everything in the middle."""

import random
import signal
import subprocess
import time
from collections import Counter

import pytest
import redis as client
from celery import chord

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

SIZE = 200
SEED = 7


def test_a_chord_of_200_has_one_result_whoever_is_killed(stormy, wait_until):
    shop, tasks, redis = stormy
    dice, killed = random.Random(SEED), Counter()
    workers = [shop.worker(concurrency=2), shop.worker(concurrency=2)]
    run = tasks.durable.canvas(chord([tasks.effect.s("s", n) for n in range(SIZE)], tasks.body.s("s")))
    wait_until(shop.lines)
    while not run.refresh().row.is_final:
        whom = dice.choice(["child", "child", "worker", "redis"] if killed.total() > 2 else ["child"])
        killed[whom] += 1
        if whom == "redis":
            client.Redis.from_url(redis.url).flushall()
        elif whom == "worker":
            victim = workers.pop(0)
            victim.send_all(signal.SIGKILL)
            victim.wait()
            workers.append(shop.worker(concurrency=2))
        else:
            kill_a_child_of(dice.choice(workers).pid, dice)
        time.sleep(dice.uniform(0.2, 0.8))  # the storm's own rhythm
    print(dict(killed))
    assert killed.total() >= 5
    assert sum(range(SIZE)) == run.result(timeout=60)

    moves = tasks.durable.database.all(
        "select r.parent_step as path, h.to_status, count(*) as times from celeriac.runs as r "
        "join celeriac.run_history as h on h.run_id = r.id where r.parent_id = %(id)s group by 1, 2",
        id=run.row.id,
    )
    ended = {row["path"]: row["times"] for row in moves if row["to_status"] == "completed"}
    begun = {row["path"]: row["times"] for row in moves if row["to_status"] == "running"}
    assert {"0.b": 1} | {f"0.h.{n}": 1 for n in range(SIZE)} == ended
    effects = Counter(line for line in shop.lines() if line.startswith("effect"))
    assert SIZE == len(effects)
    for n in range(SIZE):  # once for each time that it was begun, at most: never again once it had a result
        assert 1 <= effects[f"effect s {n}"] <= begun[f"0.h.{n}"]
    assert 1 <= shop.lines().count("body s") <= begun["0.b"]


def kill_a_child_of(pid, dice):
    found = subprocess.run(["pgrep", "-P", str(pid)], check=False, capture_output=True, text=True).stdout.split()
    if found:
        subprocess.run(["kill", "-9", dice.choice(found)], check=False)
