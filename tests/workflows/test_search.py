"""The search grammar: one line of text, one filter, and where a fault is."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.state import status
from celeriac.state.runs import Filter, Term
from celeriac.workflows.operate.search import SearchInvalid, narrowed, parse, rewritten, told

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
ID = UUID(int=7 << 64)
HOUR = timedelta(hours=1)

SEARCHES = {
    "status:failed workflow:sync-customer": Filter(status=("failed",), workflow="sync-customer"),
    "status:failed,crashed status:queued": Filter(status=("queued", "failed", "crashed")),
    "-status:completed,failed -status:crashed": Filter(
        status=tuple(each for each in status.STATUSES if each not in ("completed", "failed", "crashed"))
    ),
    "workflow:sync*": Filter(terms=(Term("workflow", ("sync*",)),)),
    "workflow:a workflow:b": Filter(terms=(Term("workflow", ("a", "b")),)),
    "tag:vip tag:eu": Filter(tag="vip", terms=(Term("tag", ("eu",)),)),
    "tag:vip,eu -tag:test": Filter(terms=(Term("tag", ("vip", "eu")), Term("tag", ("test",), True))),
    'key:"acme & sons" queue:crm source:api': Filter(concurrency_key="acme & sons", queue="crm", source="api"),
    'error:"no such, customer"': Filter(terms=(Term("error", ("no such, customer",)),)),
    "version:2030.1": Filter(terms=(Term("version", ("2030.1",)),)),
    "sync-cust": Filter(terms=(Term("workflow", ("sync-cust*",)),)),
    "STATUS:failed": Filter(status=("failed",)),
    f"run_{ID.hex}": Filter(ids=(ID,)),
    f"id:{ID},{ID.hex}": Filter(ids=(ID, ID)),
    "019ab3*": Filter(id_between=(UUID("019ab3" + "0" * 26), UUID("019ab3" + "f" * 26))),
    f"parent:run_{ID.hex}": Filter(parent_id=ID),
    "created:>1h": Filter(created_from=NOW - HOUR),
    "created:1h": Filter(created_from=NOW - HOUR),
    "created:<7d created:>2w": Filter(created_from=NOW - 336 * HOUR, created_to=NOW - 168 * HOUR),
    "created:2030-01-30": Filter(
        created_from=datetime(2030, 1, 30, tzinfo=UTC), created_to=datetime(2030, 1, 31, tzinfo=UTC)
    ),
    "created:2030-01-01..2030-01-03": Filter(
        created_from=datetime(2030, 1, 1, tzinfo=UTC), created_to=datetime(2030, 1, 4, tzinfo=UTC)
    ),
    "created:2030-01-31T12:00+01:00..": Filter(created_from=NOW - HOUR),
    "": Filter(),
}
FAULTS = {
    "stat:failed": (0, "did you mean 'status'"),
    "tag:a status:faled": (6, "did you mean 'failed'"),
    "tag:a created:soon": (6, "'soon' is no moment"),
    'tag:a error:"no such': (6, "a quote that is not closed"),
    "tag:": (0, "has no value"),
    "id:zz": (0, "is no run id"),
    "-created:1h": (0, "takes one moment"),
    "created:>99999999w": (0, "is no moment"),
    "tag:a\0": (0, "NUL"),
    "x " * 41: (80, "more than 40 words"),
    "-status:" + ",".join(status.STATUSES): (0, "no status is left"),
}


@pytest.mark.parametrize("text", SEARCHES)
def test_a_search_is_this_filter(text: str) -> None:
    assert SEARCHES[text] == parse(text, NOW)


@pytest.mark.parametrize("text", SEARCHES)
def test_a_filter_is_told_as_a_search_that_makes_the_same_filter_at_any_time(text: str) -> None:
    filter = parse(text, NOW)
    assert filter == parse(told(filter), NOW + 1000 * HOUR)


@pytest.mark.parametrize("text", FAULTS)
def test_a_search_that_says_nothing_is_refused_with_the_place_of_its_fault(text: str) -> None:
    at, why = FAULTS[text]
    with pytest.raises(SearchInvalid) as refused:
        parse(text, NOW)
    assert (at, True) == (refused.value.at, why in str(refused.value)), refused.value


def test_a_search_and_names_beside_it_hold_together_but_not_for_the_same() -> None:
    assert Filter(queue="crm", tag="vip") == narrowed(Filter(queue="crm"), "tag:vip", NOW)
    with pytest.raises(SearchInvalid, match="queue is in the search, and beside it"):
        narrowed(Filter(queue="crm"), "queue:mail", NOW)


def test_one_condition_of_a_search_is_put_in_the_place_of_another_and_the_rest_stays_as_it_was_written() -> None:
    text = 'status:failed  created:>1h error:"a  b" -status:crashed'
    assert 'created:>1h error:"a  b" status:queued' == rewritten(text, "status", "queued")
    assert 'status:failed error:"a  b" -status:crashed' == rewritten(text, "created")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='abz:,-*"\\ .<>019h\0', max_size=60))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    with suppress(SearchInvalid):
        filter = parse(text, NOW)
        assert filter == parse(told(filter), NOW)
