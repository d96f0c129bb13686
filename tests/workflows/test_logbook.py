"""What a run says is kept in its log, without cost to the run, whatever happens on the way."""

import asyncio
import json
import logging
import os
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac import Retry, parallel, sleep, step, workflow
from celeriac.state import logs, measures
from celeriac.state.logs import LogRow, NewLine
from celeriac.workflows.signals import logbook as logbook_module
from celeriac.workflows.signals import run_log
from celeriac.workflows.signals.redaction import Redaction

pytestmark = pytest.mark.usefixtures("root_logger_of_this_test")

log = logging.getLogger("shop.orders")


@pytest.fixture
def keep(durable):
    """Makes this process keep what its runs say, as a worker does."""

    def keep(durable=durable, **settings: Any) -> None:
        given = {"level": "INFO", "captures_stdout": False, "limit_characters": 16_384} | settings
        run_log.install(durable.logbook, **given)

    return keep


def lines(durable, run, level: int = 0) -> list[LogRow]:
    assert durable.logbook.flush(10)
    return logs.after(durable.database, run.id, 1000, since=run.created_at, level=level)


def said(durable, run, level: int = 0) -> list[str]:
    return [line.message for line in lines(durable, run, level)]


def wait_until(holds) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_line_knows_its_step_attempts_execution_level_logger_and_fields(durable, perform, keep):
    keep()

    @step(retry=Retry(max_attempts=2, min_delay=0.01, max_delay=0.01))
    def charge() -> None:
        log.warning("card %s was %s", "visa", "declined", extra={"amount": 12.5, "at": datetime(2026, 1, 2)})
        raise ConnectionError("no")

    @workflow(name="logs.order", retry=Retry(max_attempts=1))
    def order() -> None:
        log.info("begins")
        charge()

    run = perform(order)
    first, second, *_ = lines(durable, run)
    assert ("begins", "INFO", "shop.orders", None, None) == (
        first.message, logging.getLevelName(first.level), first.logger, first.step, first.fields)  # fmt: skip
    assert ("card visa was declined", 30, "charge", 1, 1, 1) == (
        second.message, second.level, second.step, second.attempt, second.step_attempt, second.epoch)  # fmt: skip
    assert {"amount": 12.5, "at": "2026-01-02 00:00:00"} == json.loads(second.fields)
    assert [1, 2] == [each.step_attempt for each in lines(durable, run) if each.step == "charge"]
    assert run.started_at <= first.at <= run.finished_at
    assert "logs.order" == first.workflow


def test_what_the_engine_says_of_a_failed_attempt_stands_in_the_log(durable, perform, keep):
    keep()

    @workflow(name="logs.flaky", retry=Retry(max_attempts=2, min_delay=0.01))
    def flaky() -> None:
        raise ValueError("no such customer")

    run = perform(flaky)
    assert any("failed, attempt 1 of 2: no such customer" in each for each in said(durable, run, logging.WARNING))


def test_lines_of_parallel_branches_and_async_steps_have_their_run_and_step(durable, perform, keep):
    keep()

    @step
    def pack(n: int) -> None:
        log.info("packs %d", n)

    @step
    async def ask() -> None:
        await asyncio.sleep(0)
        log.info("asks")

    @workflow(name="logs.branches")
    def branches() -> None:
        parallel(pack.s(1), pack.s(2), ask.s())

    told = {(line.step, line.message) for line in lines(durable, perform(branches))}
    assert {("pack", "packs 1"), ("pack#2", "packs 2"), ("ask", "asks")} == told


def test_outside_of_a_run_and_below_the_level_nothing_is_kept(durable, perform, keep):
    keep()

    @workflow(name="logs.quiet")
    def quiet() -> None:
        log.debug("too fine")

    log.warning("outside")
    assert [] == said(durable, perform(quiet))


def test_a_lower_level_keeps_more_and_the_console_says_what_it_said_before(durable, perform, keep):
    console, root = logging.StreamHandler(open(os.devnull, "w")), logging.getLogger()  # noqa: SIM115
    heard: list[str] = []
    console.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    root.addHandler(console)
    root.setLevel(logging.WARNING)
    keep(level="DEBUG")

    @workflow(name="logs.fine")
    def fine() -> None:
        log.debug("fine")
        log.warning("coarse")

    assert ["fine", "coarse"] == said(durable, perform(fine))
    assert ["coarse"] == heard


def test_off_installs_nothing(keep):
    keep(level="off")
    assert not any(isinstance(each, run_log.RunLog) for each in logging.getLogger().handlers)


def test_an_exception_brings_its_traceback(durable, perform, keep):
    keep()

    @workflow(name="logs.caught")
    def caught() -> None:
        try:
            raise KeyError("sku")
        except KeyError:
            log.exception("goes on")

    (told,) = said(durable, perform(caught))
    assert told.startswith("goes on\nTraceback")
    assert told.endswith("KeyError: 'sku'")


class Sulky:
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("message", ["%d", "nul \0", "surrogate \ud800", "%s"])
@pytest.mark.parametrize("extra", [Sulky(), float("nan"), "\0", {"\ud800": {1: [Sulky()]}}, {1, 2}, b"bytes"])
def test_nothing_that_is_said_fails_the_run_or_is_lost(durable, perform, keep, message, extra, monkeypatch):
    keep()
    monkeypatch.setattr(logging, "raiseExceptions", False)

    @workflow(name="logs.odd")
    def odd() -> str:
        log.info(message, Sulky(), extra={"odd": extra})
        return "done"

    run = perform(odd)
    assert '"done"' == run.output
    (line,) = lines(durable, run)
    assert "odd" in json.loads(line.fields)


def test_a_circle_among_the_fields_is_cut(durable, perform, keep):
    keep()
    circle: dict[str, Any] = {}
    circle["again"] = circle

    @workflow(name="logs.circle")
    def round_and_round() -> None:
        log.info("round", extra={"circle": circle})

    assert ["round"] == said(durable, perform(round_and_round))


def test_what_a_replay_says_again_is_left_out_and_what_is_new_is_kept(durable, perform, keep):
    keep()

    @step
    def charge() -> None:
        log.info("charges")

    @workflow(name="logs.replayed")
    def replayed() -> None:
        log.info("begins")
        charge()
        log.info("sleeps")
        sleep(60)
        log.info("is awake")

    assert ["begins", "charges", "sleeps", "is awake"] == said(durable, perform(replayed))


def test_what_is_printed_is_kept_where_it_is_set_and_goes_on_to_where_it_went(durable, perform, keep, capsys):
    keep(captures_stdout=True)

    @step
    def speaks() -> None:
        print("half", end=" ")
        print("a line")
        print("oh", file=sys.stderr)

    @workflow(name="logs.prints")
    def prints() -> None:
        speaks()

    run = perform(prints)
    told = [(line.logger, line.level, line.step, line.message) for line in lines(durable, run)]
    assert [("stdout", 20, "speaks", "half a line"), ("stderr", 30, "speaks", "oh")] == told
    print("outside")
    assert 2 == len(lines(durable, run))


def test_secrets_are_not_kept(make_durable, perform, keep, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_51H")
    durable = make_durable(celeriac_redact="password,token,api_key,authorization")
    keep(durable)

    @workflow(name="logs.secret")
    def secret() -> None:
        log.info(
            'password=hunter2, "access_token": "abc" Authorization: Bearer xyz max_tokens=5 sk_live_51H is_ok',
            extra={"user": {"password": "hunter2", "name": "ada"}, "of_endpoint": "whsec_12345", "token": None},
        )

    durable.webhook("of-secrets", verify="hmac", secret="whsec_12345")(secret)
    (line,) = lines(durable, perform(secret))
    assert 'password=***, "access_token": *** Authorization: *** max_tokens=5 *** is_ok' == line.message
    assert {"user": {"password": "***", "name": "ada"}, "of_endpoint": "***", "token": None} == json.loads(line.fields)


def test_a_secret_at_the_cut_of_a_long_message_is_not_kept_in_part(make_durable, perform, keep):
    durable = make_durable(celeriac_log_message_limit_characters=100, celeriac_api_key="abcdefghijklmnop")
    keep(durable, limit_characters=100)

    @workflow(name="logs.cut-secret")
    def cut() -> None:
        log.info("%sabcdefghijklmnop", "x" * 95)

    assert ["x" * 95 + "***"] == said(durable, perform(cut))


def test_a_long_message_and_large_fields_are_cut(make_durable, perform, keep):
    durable = make_durable(celeriac_log_message_limit_characters=50)
    keep(durable, limit_characters=50)

    @workflow(name="logs.long")
    def long() -> None:
        log.info("y" * 5000, extra={"large": "z" * 5000})

    (line,) = lines(durable, perform(long))
    assert "y" * 50 + "…" == line.message
    assert json.loads(line.fields)["cut"].endswith("z…")


def test_of_fields_without_end_only_what_is_kept_is_looked_at(make_durable, perform, keep):
    durable = make_durable(celeriac_log_message_limit_characters=50)
    keep(durable, limit_characters=50)
    looked: list[int] = []

    class Many(list[int]):
        def __iter__(self):
            for n in range(1_000_000):
                looked.append(n)
                yield n

    @workflow(name="logs.endless")
    def endless() -> None:
        log.info("rows", extra={"rows": Many()})

    (line,) = lines(durable, perform(endless))
    assert json.loads(line.fields)["cut"].startswith('{"rows": [0, 1, 2')
    assert len(looked) < 2000


def test_fields_that_were_cut_say_so_also_where_a_secret_was_what_took_the_room(make_durable, perform, keep):
    durable = make_durable(celeriac_log_message_limit_characters=50)
    keep(durable, limit_characters=50)

    @workflow(name="logs.cut-fields")
    def cut() -> None:
        log.info("rows", extra={"a_token": "x" * 9000, "shop": "ada"})

    (line,) = lines(durable, perform(cut))
    assert {"a_token": "***", "…": "…"} == json.loads(line.fields)


@pytest.mark.parametrize("name", ["celery.task", "shop.apart"])
def test_a_logger_that_goes_its_own_way_is_kept_as_well_and_once(durable, perform, keep, name):
    apart = logging.getLogger(name)
    heard: list[str] = []
    console = logging.StreamHandler()
    console.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    apart.addHandler(console)
    apart.propagate = False
    if name == "celery.task":
        apart.setLevel(logging.WARNING)  # as a worker with -l WARNING has it
    keep()
    keep()

    @workflow(name="logs.apart")
    def goes_apart() -> None:
        logging.getLogger(f"{name}.below").info("below")
        apart.warning("itself")

    assert ["below", "itself"] == said(durable, perform(goes_apart))
    assert "below" not in heard or name != "celery.task"
    assert "itself" in heard


def test_a_level_that_no_logger_has_does_not_cost_the_lines_around_it(durable, perform, keep):
    keep()

    @workflow(name="logs.loud")
    def loud() -> None:
        log.info("before")
        log.log(10**9, "louder than all")
        log.info("after")

    assert ["before", "louder than all", "after"] == said(durable, perform(loud))


def test_of_many_lines_postgres_refuses_only_those_that_it_cannot_hold(database, perform):
    run = perform.start(_speaks)

    def line(message: str, level: int = 20) -> NewLine:
        return NewLine(datetime.now(UTC), run.id, "w", None, 1, None, 1, level, "x", message, None, 4)

    refused = logs.write(database, [line("a"), line("b"), line("bad", level=10**6), line("c"), line("d")])
    assert [("bad", "smallint out of range")] == [(each.message, why) for each, why in refused]
    assert list("abcd") == [each.message for each in logs.after(database, run.id, 10, since=run.created_at)]


def test_of_a_long_traceback_both_ends_are_kept_and_no_part_of_a_secret(make_durable, perform, keep):
    durable = make_durable(celeriac_log_message_limit_characters=500, celeriac_api_key="abcdefghijklmnop")
    keep(durable, limit_characters=500)

    @workflow(name="logs.chained")
    def chained() -> None:
        try:
            try:
                raise KeyError("abcdefghijklmnop" * 1000)
            except KeyError as error:
                raise ValueError("no such order") from error
        except ValueError:
            log.exception("cannot go on")

    (message,) = said(durable, perform(chained))
    assert message.startswith("cannot go on\nTraceback")
    assert message.endswith("ValueError: no such order")
    assert len(message) <= 500
    assert "abcdefghijklmnop"[:6] not in message
    assert "abcdefghijklmnop"[-6:] not in message


def test_the_log_of_a_run_that_says_too_much_is_full_over_all_its_executions(make_durable, perform, keep):
    durable = make_durable(celeriac_log_limit_bytes=1000)
    keep(durable)

    @workflow(name="logs.chatty")
    def chatty() -> None:
        for n in range(8):
            log.info("%d %s", n, "x" * 98)
        sleep(60)
        for n in range(8, 16):
            log.info("%d %s", n, "x" * 98)

    run = perform(chatty)
    told = said(durable, run)
    assert 11 == len(told)
    assert "this log is full" in told[-1]
    dropped = [(row["detail"], row["count"]) for row in measures.every(durable.database)]
    assert [("run limit", 6)] == dropped


@pytest.mark.alone
def test_while_postgres_is_away_a_run_that_logs_does_not_wait_and_its_lines_come_later(
    durable, perform, keep, wire, far_perform
):
    far = far_perform.durable
    keep(far)
    run = perform.start(_speaks)
    held, _ = perform.claim(run)
    wire.cut()
    execution = run_log_execution(far, held)
    with execution.entered():
        began = time.monotonic()
        for n in range(100):
            log.info("line %d", n)
        assert time.monotonic() - began < 0.5
    assert [] == logs.after(durable.database, run.id, 1000, since=run.created_at)
    wire.refused.wait(10)
    wire.mend()
    assert far.logbook.flush(20)
    assert [f"line {n}" for n in range(100)] == said(durable, run)


@workflow(name="logs.speaks")
def _speaks() -> None:
    log.info("spoke")


def run_log_execution(durable, held):
    from celeriac.workflows.engine.execution import Execution

    return Execution(durable.database, durable.settings, held, [], lambda: False)


def test_lines_beyond_the_room_of_the_process_are_dropped_counted_and_told(
    durable, perform, keep, wire, far_perform, monkeypatch
):
    monkeypatch.setattr(logbook_module, "QUEUE_LIMIT", 10)
    far = far_perform.durable
    keep(far)
    run = perform.start(_speaks)
    held, _ = perform.claim(run)
    wire.cut()
    with run_log_execution(far, held).entered():
        log.info("first")
        wait_until(lambda: not far.logbook._lines)  # the writer holds it, and waits for Postgres
        for n in range(30):
            log.info("line %d", n)
    wire.mend()
    assert far.logbook.flush(20)
    told = said(durable, run)
    assert ["first", *(f"line {n}" for n in range(10))] == told[:11]
    dropped = "20 lines of this run's log before this one were dropped: they came faster than Postgres took them"
    assert [dropped] == told[11:]
    assert [("log_lines_dropped", "logs.speaks", "no room", 20)] == [
        (row["name"], row["workflow"], row["detail"], row["count"]) for row in measures.every(durable.database)
    ]


def test_long_lines_that_wait_for_postgres_are_bounded_by_what_they_hold(
    durable, perform, keep, wire, far_perform, monkeypatch
):
    monkeypatch.setattr(logbook_module, "QUEUE_CHARACTERS", 10_000)
    far = far_perform.durable
    keep(far)
    run = perform.start(_speaks)
    held, _ = perform.claim(run)
    wire.cut()
    with run_log_execution(far, held).entered():
        log.info("first")
        wait_until(lambda: not far.logbook._lines)  # the writer holds it, and waits for Postgres
        for n in range(30):
            log.info("%d", n, extra={"row": "x" * 1000})
    wire.mend()
    assert far.logbook.flush(20)
    told = said(durable, run)
    assert ["first", *map(str, range(8))] == told[:9]
    assert told[9].startswith("22 lines of this run's log")
    with run_log_execution(far, held).entered():
        log.info("there is room again")
    assert far.logbook.flush(20)
    assert "there is room again" == said(durable, run)[-1]


def test_a_forked_child_writes_its_own_lines_once(durable, perform, keep):
    keep()
    run = perform.start(_speaks)
    held, _ = perform.claim(run)
    with run_log_execution(durable, held).entered():
        log.info("parent")
        child = os.fork()
        if child == 0:
            log.info("child")
            os._exit(0 if durable.logbook.flush(10) else 1)
        assert 0 == os.waitpid(child, 0)[1]
    assert ["child", "parent"] == sorted(said(durable, run))


def test_many_threads_log_at_once_and_every_line_arrives_in_the_order_of_its_thread(durable, perform, keep):
    keep()
    run = perform.start(_speaks)
    held, _ = perform.claim(run)

    def speak(who: int) -> None:
        with run_log_execution(durable, held).entered():
            for n in range(200):
                log.info("%d %d", who, n)

    threads = [threading.Thread(target=speak, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [tuple(map(int, each.split())) for each in said(durable, run)]
    assert 800 == len(told)
    for who in range(4):
        assert list(range(200)) == [n for each, n in told if each == who]


def test_what_the_engine_notes_of_a_run_stands_in_its_log(durable, perform):
    run = perform.start(_speaks)
    durable.logbook.tell(log, logging.WARNING, run, "lost its worker w@test, and is queued")
    (line,) = lines(durable, run)
    assert ("lost its worker w@test, and is queued", 30, "celeriac") == (line.message, line.level, line.logger)


def test_who_reads_on_from_the_last_line_misses_none_that_another_process_commits_late(database, perform):
    """A run has gone from one worker to another, and the last lines of the first are still on their way."""
    run = perform.start(_speaks)

    def line(message: str, epoch: int) -> NewLine:
        return NewLine(datetime.now(UTC), run.id, "w", None, 1, None, epoch, 20, "x", message, None, 4)

    def read(after_id: int) -> list[LogRow]:
        return logs.after(database, run.id, 10, since=run.created_at, after_id=after_id)

    with database.transaction() as slow:
        logs.write(slow, [line("by the first", epoch=1)])
        second = threading.Thread(target=logs.write, args=(database, [line("by the second", epoch=2)]))
        second.start()
        wait_until(lambda: not second.is_alive() or _waits_for_a_lock(database))
        seen = read(0)
    second.join()
    seen += read(seen[-1].id if seen else 0)
    assert ["by the first", "by the second"] == [each.message for each in seen]


def _waits_for_a_lock(database) -> bool:
    return bool(database.all("select from pg_stat_activity where wait_event = 'advisory'"))


def test_first_executions_of_runs_do_not_wait_for_each_other(database, perform):
    with database.transaction() as slow:
        for n, each in enumerate((slow, database)):  # the second would wait for ever
            now, ids = datetime.now(UTC), [perform.start(_speaks).id for _ in range(100)]
            logs.write(each, [NewLine(now, id, "w", None, 1, None, 1, 20, "x", str(n), None, 4) for id in ids])
    assert 200 == database.one("select count(*) as lines from celeriac.logs")["lines"]


def test_two_writers_of_many_runs_do_not_wait_for_each_other_for_ever(database, perform):
    ids, now = [perform.start(_speaks).id for _ in range(100)], datetime.now(UTC)

    def write(order: list[Any]) -> None:
        for _ in range(20):
            lines = [(id, epoch) for id in order for epoch in (1, 2)]
            logs.write(database, [NewLine(now, id, "w", None, 1, None, e, 20, "x", "y", None, 4) for id, e in lines])

    threads = [threading.Thread(target=write, args=(order,)) for order in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 8000 == database.one("select count(*) as lines from celeriac.logs")["lines"]


def test_a_day_without_a_partition_gets_one_by_its_first_line(database, perform):
    run = perform.start(_speaks)
    far = datetime(2031, 5, 6, 7, tzinfo=UTC)
    logs.write(database, [NewLine(far, run.id, "w", None, 1, None, 1, 20, "x", "late", None, 4)])
    assert ["late"] == [line.message for line in logs.after(database, run.id, 10, since=run.created_at)]
    assert {"logs_20310506", "logs_20310509"} <= partitions(database)


def test_days_are_made_ahead_once_and_dropped_when_their_time_is_over(database):
    now = datetime(2032, 1, 30, 12, tzinfo=UTC)
    assert 4 == logs.make_days(database, now)
    assert 0 == logs.make_days(database, now)
    assert {"logs_20320130", "logs_20320202"} <= partitions(database)
    logs.drop_days(database, 14, now + timedelta(days=14.4))  # its last moment is less than 14 days ago
    assert "logs_20320130" in partitions(database)
    logs.drop_days(database, 14, now + timedelta(days=15))
    assert "logs_20320130" not in partitions(database)
    assert "logs_20320131" in partitions(database)


def test_ten_threads_that_make_a_day_at_once_make_it_once(database):
    now = datetime(2033, 3, 4, tzinfo=UTC)
    made: list[int] = []
    threads = [threading.Thread(target=lambda: made.append(logs.make_days(database, now))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4 == sum(made)


def partitions(database) -> set[str]:
    rows = database.all("select relname from pg_class where relname like 'logs_2%%' and relkind = 'r'")
    return {row["relname"] for row in rows}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("secret=1 Secret: 'a b' my-token=x", "secret=*** Secret: *** my-token=***"),
        ("secretary=5 tokens: 7 the token was lost", "secretary=5 tokens: 7 the token was lost"),
        ('{"client_secret":"x","n":1}', '{"client_secret":***,"n":1}'),
        ("GET /?token=abc&page=2", "GET /?token=***&page=2"),
    ],
)
def test_names_hide_what_stands_under_them(text, kept):
    assert kept == Redaction(["secret", "token"]).text(text)


def test_without_names_and_values_nothing_is_hidden():
    assert "password=x" == Redaction([]).text("password=x")
