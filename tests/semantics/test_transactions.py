"""Writes of the shop's own that commit with a checkpoint, and triggers that commit with such writes."""

from collections.abc import Iterator

import pytest
import sqlalchemy
from celery import Celery
from sqlalchemy import orm, text

from celeriac import Celeriac
from celeriac.deploy.embedded import EmbeddedRedis
from celeriac.state import runs
from celeriac.workflows import registry

INSERT = text("insert into ledger values ('a caller', 'ada', 1)")


@pytest.fixture
def session(stage) -> Iterator[orm.Session]:
    engine = sqlalchemy.create_engine(stage.durable.database.url)
    with orm.Session(engine) as session:
        yield session
    engine.dispose()


def test_what_a_step_writes_commits_with_its_checkpoint(stage):
    run = stage.start("transactions.pay", amount=7)
    assert 14 == run.result(timeout=20)
    assert [("ada", -7), ("bob", 7)] == stage.ledger(run)


def test_a_step_that_raises_leaves_nothing(stage):
    run = stage.ended(stage.start("transactions.fails"))
    assert ("failed", []) == (run.status, stage.ledger(run))


def test_a_run_starts_when_its_caller_commits_and_is_invisible_before(stage, session):
    session.execute(INSERT)
    run = stage.start("transactions.mail", to="ada", options={"session": session})
    assert runs.get(stage.durable.database, run.row.id) is None
    session.commit()
    assert "ada" == run.result(timeout=20)


def test_a_run_whose_caller_rolls_back_never_was(stage, session):
    run = stage.start("transactions.mail", to="ada", options={"session": session})
    session.rollback()
    assert runs.get(stage.durable.database, run.row.id) is None


def test_a_run_whose_caller_could_not_reach_redis_starts_all_the_same(stage, session, tmp_path):
    with EmbeddedRedis(tmp_path / "gone", appendonly=False) as gone:
        app = Celery("a caller without Redis", broker=gone.url, set_as_current=False)
    url = stage.durable.settings.database_url
    app.conf.update({"celeriac_database_url": url, "celeriac_redis_url": app.conf.broker_url})
    caller = Celeriac(app)
    registry.unbind(caller)
    run = caller.trigger("transactions.mail", {"to": "ada"}, session=session)
    session.commit()
    stage.until(run, "completed")
    caller.close()
