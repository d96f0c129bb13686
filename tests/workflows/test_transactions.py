"""Writes of a shop that commit together with a checkpoint, and triggers that commit together with such writes."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import orm, text

from celeriac import Celeriac, Retry, sleep, step, workflow
from celeriac.state import runs, status, steps
from celeriac.state.database import Database
from celeriac.state.steps import Checkpoint
from celeriac.workflows.errors import UsageError

INSERT = "insert into ledger (account, amount) values (:account, :amount)"


@pytest.fixture
def ledger(database: Database) -> Iterator[None]:
    """A table of the shop's own, in the same database."""
    database.all("create table if not exists ledger (account text not null, amount int not null)")
    database.all("truncate ledger")
    yield
    database.all("drop table ledger")


def amounts(database: Database) -> list[int]:
    return [row["amount"] for row in database.all("select amount from ledger order by amount")]


@pytest.fixture
def pay() -> Any:
    @step(transaction=True)
    def debit(session: orm.Session, account: str, amount: int) -> int:
        session.execute(text(INSERT), {"account": account, "amount": amount})
        return amount

    @workflow(name="pay")
    def pay(amount: int) -> int:
        first = debit("ada", amount)
        sleep(60)
        return first + debit("bob", amount + 1)

    return pay


@pytest.mark.usefixtures("ledger")
class TestSteps:
    def test_what_it_writes_is_there_with_its_checkpoint_and_once(self, perform: Any, pay: Any) -> None:
        run = perform(pay, 7)
        assert ("15", [7, 8]) == (run.output, amounts(perform.database))
        assert ["transaction", "sleep", "transaction"] == [each.kind for each in perform.steps(run).values()]

    def test_a_step_that_raises_leaves_nothing_and_is_tried_again(self, perform: Any) -> None:
        tries: list[int] = []

        @step(transaction=True, retry=Retry(max_attempts=2, min_delay=0, max_delay=0))
        def debit(session: orm.Session) -> None:
            session.execute(text(INSERT), {"account": "ada", "amount": len(tries)})
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("no")

        @workflow(name="pay")
        def pay() -> None:
            debit()

        assert status.COMPLETED == perform(pay).status
        assert [1] == amounts(perform.database)

    def test_sql_that_is_wrong_is_an_error_of_the_step_and_nothing_hangs(self, perform: Any) -> None:
        @step(transaction=True)
        def debit(session: orm.Session) -> None:
            session.execute(text("insert into no_such_table values (1)"))

        @workflow(name="pay")
        def pay() -> None:
            debit()

        run = perform(pay)
        assert status.FAILED == run.status
        assert "no_such_table" in (run.error or "")

    def test_a_commit_or_rollback_of_the_body_reaches_its_own_writes_only(self, perform: Any) -> None:
        @step(transaction=True)
        def debit(session: orm.Session) -> str:
            session.execute(text(INSERT), {"account": "ada", "amount": 1})
            session.commit()
            session.execute(text(INSERT), {"account": "ada", "amount": 2})
            session.rollback()
            if debits.append(1) or len(debits) == 1:
                raise ConnectionError("after its commit")
            return "done"

        debits: list[int] = []

        @workflow(name="pay", retry=Retry(max_attempts=2, min_delay=0, max_delay=0))
        def pay() -> str:
            return debit()

        assert '"done"' == perform(pay).output
        assert [1] == amounts(perform.database)

    def test_a_worker_that_lost_its_run_writes_nothing(self, perform: Any) -> None:
        @step(transaction=True)
        def debit(session: orm.Session) -> None:
            session.execute(text(INSERT), {"account": "ada", "amount": 1})
            perform.lose_worker()

        @workflow(name="pay")
        def pay() -> None:
            debit()

        assert status.QUEUED == perform.once(perform.start(pay)).status
        assert [] == amounts(perform.database)

    def test_a_commit_whose_answer_was_lost_and_that_arrives_late_counts_and_what_was_tried_meanwhile_does_not(
        self, perform: Any
    ) -> None:
        tries: list[int] = []

        def commit_late() -> None:
            run = perform.database.one("select id, epoch from celeriac.runs where status = 'running'")
            with perform.database.unit_of_work() as (session, transaction):
                session.execute(text(INSERT), {"account": "ada", "amount": 1})
                earlier = Checkpoint(key="debit", seq=1, name="debit", status="completed", attempts=1,
                                     duration_seconds=0, kind="transaction", output='"first"')  # fmt: skip
                steps.record(transaction, run["id"], run["epoch"], earlier)

        @step(transaction=True)
        def debit(session: orm.Session) -> str:
            tries.append(1)
            session.execute(text(INSERT), {"account": "ada", "amount": 2})
            commit_late()
            return "second"

        @workflow(name="pay")
        def pay() -> str:
            return debit()

        assert '"first"' == perform(pay).output
        assert ([1], [1]) == (amounts(perform.database), tries)

    def test_outside_a_run_it_is_a_plain_function_of_a_session(self, durable: Celeriac, database: Database) -> None:
        @step(transaction=True)
        def debit(session: orm.Session, amount: int) -> int:
            session.execute(text(INSERT), {"account": "ada", "amount": amount})
            return amount

        with orm.Session(sqlalchemy.create_engine(database.url)) as session:
            assert 7 == debit(session, 7)  # type: ignore[call-arg, arg-type]
            session.commit()
            session.get_bind().dispose()  # type: ignore[union-attr]
        assert [7] == amounts(database)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    "words", ["BEGIN", "SAVEPOINT", "insert into ledger", "RELEASE", "is_first from held", "COMMIT"]
)
@pytest.mark.parametrize("and_cut", [False, True])
def test_a_connection_that_breaks_at_any_statement_has_it_take_effect_once(
    far_perform: Any, wire: Any, pay: Any, words: str, and_cut: bool
) -> None:
    """The server did it, and its answer was lost, with the connection; for a while Postgres may be away as well."""
    run = far_perform.start(pay, 7)
    wire.forget_answer_to(words, and_cut=and_cut)
    if and_cut:
        wire.mend_once_refused()
    done = far_perform.finish(run)
    assert 1 == wire.forgot
    assert ("15", [7, 8]) == (done.output, amounts(far_perform.database))


@pytest.mark.usefixtures("ledger")
class TestTriggers:
    @pytest.fixture
    def mail(self) -> Any:
        @workflow(name="mail")
        def mail(to: str) -> None: ...

        return mail

    @pytest.fixture
    def engine(self, database: Database) -> Iterator[sqlalchemy.Engine]:
        engine = sqlalchemy.create_engine(database.url)
        yield engine
        engine.dispose()

    def test_a_run_is_there_when_the_caller_commits_and_not_before(
        self, durable: Celeriac, mail: Any, engine: sqlalchemy.Engine
    ) -> None:
        with orm.Session(engine) as session:
            session.execute(text(INSERT), {"account": "ada", "amount": 1})
            run = mail.apply_async(("ada",), session=session)
            assert runs.get(durable.database, run.row.id) is None
            session.commit()
        assert status.QUEUED == run.refresh().status

    def test_a_run_whose_caller_rolls_back_never_was(
        self, durable: Celeriac, mail: Any, engine: sqlalchemy.Engine
    ) -> None:
        with orm.Session(engine) as session:
            run = mail.apply_async(("ada",), session=session)
            session.rollback()
            session.execute(text(INSERT), {"account": "ada", "amount": 1})
            session.commit()
        with pytest.raises(UsageError, match="not there any more"):
            run.refresh()

    def test_a_connection_will_do(self, durable: Celeriac, mail: Any, engine: sqlalchemy.Engine) -> None:
        with engine.begin() as connection:
            run = mail.apply_async(("ada",), session=connection, idempotency_key="k")
        assert status.QUEUED == run.refresh().status
        assert run.id == mail.apply_async(("ada",), idempotency_key="k").id

    def test_a_scoped_session_will_do(self, durable: Celeriac, mail: Any, engine: sqlalchemy.Engine) -> None:
        session = orm.scoped_session(orm.sessionmaker(engine))
        run = mail.apply_async(("ada",), session=session)
        session.commit()
        session.remove()
        assert status.QUEUED == run.refresh().status

    def test_what_is_no_session_is_refused(self, durable: Celeriac, mail: Any) -> None:
        with pytest.raises(UsageError, match="give an SQLAlchemy Session, or a Connection"):
            mail.apply_async(("ada",), session="session")
