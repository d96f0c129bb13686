"""The one codec: what goes in comes out, on the first execution and on every replay, or it is refused by name."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Optional
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from celeriac.state import runs
from celeriac.state.database import Database
from celeriac.state.errors import NotSerializable, PayloadInvalid, TooLarge
from celeriac.state.payload import PayloadSchema, arguments_of, decode, encode, payload_of


class Colour(Enum):
    RED = "red"
    TWO = 2


class Address(TypedDict):
    city: str
    since: datetime


@dataclass
class Key:
    raw: bytes


@dataclass
class Customer:
    id: UUID
    key: Key
    keys: list[Key] = field(default_factory=list)
    colour: Colour = Colour.RED


class Order(BaseModel):
    total: Decimal
    at: datetime
    lines: list[str] = []


@dataclass
class Basket:
    orders: dict[str, Order]


ID = UUID("0193f0aa-0000-7000-8000-000000000001")
MOMENT = datetime(2026, 3, 29, 2, 30, 0, 123456, UTC)
ORDER = Order(total=Decimal("1.10"), at=MOMENT, lines=["bread"])

TYPED: list[tuple[Any, Any]] = [
    (Key(b"\x00\xff\xfe"), Key),
    (Customer(ID, Key(b"\xff"), [Key(b""), Key(b"ab")], Colour.TWO), Customer),
    (ORDER, Order),
    ([ORDER], list[Order]),
    (Basket({"a": ORDER}), Basket),
    (MOMENT, datetime),
    (MOMENT.astimezone(ZoneInfo("Europe/Berlin")), datetime),
    (MOMENT.astimezone(timezone(timedelta(hours=-3, minutes=-30))), datetime),
    (date(2026, 3, 29), date),
    (timedelta(days=1, microseconds=5), timedelta),
    (ID, UUID),
    (Decimal("1.10"), Decimal),
    (Decimal("12345678901234567890.123456789"), Decimal),
    (Colour.RED, Colour),
    ({Colour.RED: 1}, dict[Colour, int]),
    (b"\x00\xff any bytes", bytes),
    (bytes(range(256)), bytes),
    ((1, "a", b"\xff"), tuple[int, str, bytes]),
    ((1, 2, 3), tuple[int, ...]),
    ({1, 2}, set[int]),
    (frozenset({ID}), frozenset[UUID]),
    (None, Optional[UUID]),  # noqa: UP045  # as users write it
    (ID, UUID | None),
    ({"city": "Kyiv", "since": MOMENT}, Address),
    ({7: "seven"}, dict[int, str]),
]


@pytest.mark.parametrize(("value", "annotation"), TYPED, ids=[str(annotation) for _, annotation in TYPED])
def test_a_typed_value_comes_back_as_what_it_was(shared_database: Database, value: Any, annotation: Any) -> None:
    text = encode(value, "the result")
    row = shared_database.one("select %(text)s::json as stored", text=text)
    assert row is not None
    first, replayed = decode(text, annotation), decode(row["stored"], annotation)
    assert value == first
    assert first == replayed
    assert type(value) is type(first) is type(replayed)


@pytest.mark.parametrize(("value", "annotation"), TYPED, ids=[str(annotation) for _, annotation in TYPED])
def test_without_an_annotation_plain_json_comes_back(value: Any, annotation: Any) -> None:
    text = encode(value, "the result")
    assert json.loads(text) == decode(text)


def test_an_annotation_that_does_not_fit_is_a_hint_and_the_plain_value_comes_back() -> None:
    assert {"id": "none"} == decode('{"id": "none"}', Customer)
    assert "not a date" == decode('"not a date"', datetime)


def test_an_annotation_that_cannot_be_read_revives_nothing() -> None:
    class Unreadable: ...

    assert {"a": 1} == decode('{"a": 1}', Unreadable)
    assert [1] == decode("[1]", Callable[[int], str])


@dataclass
class ForTypeCheckers:
    member: "NameOfATypeCheckingBlock"  # type: ignore[name-defined]  # noqa: F821


def test_an_annotation_whose_names_exist_for_type_checkers_only_revives_nothing() -> None:
    def takes(given: ForTypeCheckers) -> None: ...

    assert {"member": 1} == decode('{"member": 1}', ForTypeCheckers)
    assert {"given": {"member": 1}} == schema_of(takes).revive('{"given": {"member": 1}}')


def documents() -> st.SearchStrategy[Any]:
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(documents())
@settings(deadline=None)
def test_json_comes_back_exactly_also_after_postgres_kept_it(shared_database: Database, value: Any) -> None:
    text = encode(value, "the result")
    row = shared_database.one("select %(text)s::json as stored", text=text)
    assert row is not None
    first = decode(text)
    assert repr(value) == repr(first)  # repr tells 1 from 1.0 and True, -0.0 from 0.0, and the order of keys
    assert repr(first) == repr(decode(row["stored"]))
    assert text == encode(first, "the result again")


@given(documents())
@settings(deadline=None, max_examples=40)
def test_a_payload_comes_back_exactly_from_the_row_of_its_run(
    shared_database: Database, runs_of: Callable[[Database], Any], value: Any
) -> None:
    a_run = runs_of(shared_database)
    run = a_run.new(payload=encode({"value": value}, "the payload"))
    assert repr({"value": value}) == repr(decode(a_run.row(run.id).payload))


def test_the_order_of_keys_and_the_kinds_of_numbers_survive_the_row(a_run: Any) -> None:
    value = {"zz": 1, "a": 1.0, "m": 10**30, "e": 1e16, "zero": -0.0, "small": 5e-324, "yes": True}
    run = a_run(payload=encode(value, "the payload"))
    assert repr(value) == repr(decode(a_run.row(run.id).payload))
    run = a_run("running")
    ended = runs.complete(a_run.database, run.id, run.epoch, encode(value, "the result"))
    assert ended is not None
    assert repr(value) == repr(decode(ended.output))


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def contains_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def knows_itself() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["me"] = {"again": value}
    return value


@dataclass
class Anything:
    member: Any


class Model(BaseModel):
    member: Any


REFUSED = [
    (object(), "$", "object"),
    ({"a": [1, object()]}, "$.a[1]", "object"),
    (Anything({"b": object()}), "$.member.b", "object"),
    ([lambda: None], "$[0]", "function"),
    ({"handle": open}, "$.handle", "builtin_function_or_method"),
    (ValueError("x"), "$", "ValueError"),
    (float("nan"), "$", "nan"),
    ({"a": {"b": float("inf")}}, "$.a.b", "inf"),
    ((1.0, float("-inf")), "$[1]", "-inf"),
    (Anything(float("nan")), "$.member", "nan"),
    ("a\0b", "$", "NUL"),
    (["", "\0"], "$[1]", "NUL"),
    ({"outer": {"k\0": 1}}, r"$.outer.'k\x00'", "NUL"),
    ("\ud800", "$", "surrogate"),
    ({"name": ["ok", "x\udfff"]}, "$.name[1]", "surrogate"),
    ({"\ud83d": 1}, r"$.'\ud83d'", "surrogate"),
    (contains_itself(), "$", "contains itself"),
    (knows_itself(), "$", "contains itself"),
    (nested(100_000), "$", "nested too deeply"),
]


@pytest.mark.parametrize(("value", "path", "fault"), REFUSED, ids=range(len(REFUSED)))
def test_a_value_that_json_cannot_hold_is_refused_with_where_it_is(value: Any, path: str, fault: str) -> None:
    with pytest.raises(NotSerializable) as refused:
        encode(value, "the result of step 'fetch'")
    assert ("the result of step 'fetch'", path) == (refused.value.where, refused.value.path)
    assert fault in refused.value.fault
    assert str(refused.value).startswith("the result of step 'fetch' cannot be kept: ")
    assert path in str(refused.value)


@pytest.mark.parametrize("member", [object(), "\0", "\ud800", {"deep": [object()]}], ids=range(4))
def test_a_fault_inside_a_pydantic_model_is_found_and_named(member: Any) -> None:
    with pytest.raises(NotSerializable) as refused:
        encode([Model(member=member)], "the result")
    assert refused.value.path.startswith("$[0].member")


def kept(value: Any) -> str | None:
    try:
        return encode(value, "the result")
    except NotSerializable:
        return None


@pytest.mark.parametrize("levels", [199, 200, 201, 220, 254, 255])
def test_what_is_kept_can_be_read_again_however_deep_it_is(levels: int) -> None:
    text = kept(nested(levels))
    assert text is None or nested(levels) == decode(text)


@pytest.mark.parametrize("digits", [4000, 4301, 5000])
def test_what_is_kept_can_be_read_again_however_long_a_number_is(digits: int) -> None:
    text = kept({"n": 10**digits})
    assert text is None or {"n": 10**digits} == decode(text)


@pytest.mark.parametrize("text", [r"\u0000", "NaN", "Infinity", "-Infinity", "\U0001f98a", '"', "\\", "\x7f\x01"])
def test_text_that_only_looks_like_a_fault_is_kept(text: str) -> None:
    assert {text: [text]} == decode(encode({text: [text]}, "the result"))


def test_what_is_larger_than_its_limit_is_refused_with_both_sizes() -> None:
    assert '"1234567"' == encode("1234567", "the payload", limit_bytes=9)
    with pytest.raises(TooLarge, match="the payload is 10 bytes of JSON, the limit is 9") as refused:
        encode("12345678", "the payload", limit_bytes=9)
    assert (10, 9) == (refused.value.size_bytes, refused.value.limit_bytes)
    with pytest.raises(TooLarge):
        encode("€€€", "the payload", limit_bytes=9)  # bytes, not characters


@given(st.one_of(documents(), st.binary(), st.datetimes(timezones=st.just(UTC)), st.decimals(allow_nan=False)))
def test_encoding_never_fails_but_by_its_own_error(value: Any) -> None:
    decode(encode(value, "the result"))


# --- the payload as an object ---


def schema_of(function: Callable[..., Any]) -> PayloadSchema:
    return PayloadSchema("sync", inspect.signature(function).parameters)


def pointers(function: Callable[..., Any], payload: Any) -> dict[str, str]:
    with pytest.raises(PayloadInvalid, match="the payload does not fit workflow 'sync'") as refused:
        schema_of(function).revive(json.dumps(payload))
    return {fault["pointer"]: fault["detail"] for fault in refused.value.faults}


def sync(customer_id: int, order: Order, tags: list[int] = [], /, *, note: str = "") -> None: ...  # noqa: B006


VALID = {"customer_id": 1, "order": {"total": "1.10", "at": "2026-01-01T00:00:00Z"}}


def test_a_payload_is_revived_to_the_types_of_the_parameters() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert {"customer_id": 1, "order": Order(total=Decimal("1.10"), at=at)} == schema_of(sync).revive(json.dumps(VALID))


def test_each_fault_of_a_payload_has_a_pointer() -> None:
    payload = {"customer_id": "x", "order": {"total": "1", "at": "soon"}, "tags": [1, "a"], "extra": 1, "a/b~c": 1}
    told = pointers(sync, payload)
    assert {"/customer_id", "/order/at", "/tags/1", "/extra", "/a~1b~0c"} == set(told)
    assert "the workflow has no parameter of this name" == told["/extra"]


def test_a_missing_parameter_is_named_and_a_default_need_not_be_given() -> None:
    assert {"/customer_id": "this parameter is required", "/order": "this parameter is required"} == pointers(sync, {})


@pytest.mark.parametrize("payload", [None, [], "x", 1, [VALID]])
def test_a_payload_is_an_object(payload: Any) -> None:
    assert [""] == list(pointers(sync, payload))


def test_keyword_arguments_take_any_member_and_without_them_none() -> None:
    def takes_more(a: int, **more: Any) -> None: ...

    assert {"a": 1, "b": [2]} == schema_of(takes_more).revive('{"a": 1, "b": [2]}')
    assert {"/b"} == set(pointers(lambda a: None, {"a": 1, "b": [2]}))


def test_positional_arguments_are_a_list_of_their_type() -> None:
    def total(*amounts: Decimal) -> None: ...

    assert {"amounts": [Decimal("1.10")]} == schema_of(total).revive('{"amounts": ["1.10"]}')
    assert {"/amounts/1"} == set(pointers(total, {"amounts": [1, "x"]}))


def test_the_schema_of_a_payload_is_json_schema() -> None:
    schema = schema_of(sync).json_schema()
    assert ["customer_id", "order"] == schema["required"]
    assert {"customer_id", "order", "tags", "note"} == set(schema["properties"])
    assert False is schema["additionalProperties"]


def test_a_parameter_of_a_type_that_json_schema_has_no_word_for_takes_an_object_of_anything() -> None:
    def hooked(callback: Callable[[int], str], n: int) -> None: ...

    assert "object" == schema_of(hooked).json_schema()["type"]


def plain(a: Any, b: Any = 2) -> Any:
    return a, b


def positional_only(a: Any, b: Any = 2, /) -> Any:
    return a, b


def all_defaults(a: Any = 1, b: Any = 2, /, c: Any = 3) -> Any:
    return a, b, c


def varargs(a: Any, b: Any = 2, *rest: Any) -> Any:
    return a, b, rest


def defaults_and_varargs(a: Any = 1, *rest: Any) -> Any:
    return a, rest


def keyword_only(*, d: Any, e: Any = 5) -> Any:
    return d, e


def keywords(a: Any, **more: Any) -> Any:
    return a, more


def everything(a: Any, b: Any = 2, /, c: Any = 3, *rest: Any, d: Any, e: Any = 5, **more: Any) -> Any:
    return a, b, c, rest, d, e, more


def keywords_alone(**more: Any) -> Any:
    return more


CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (plain, (1,), {}),
    (plain, (1, 3), {}),
    (plain, (1,), {"b": 3}),
    (plain, (), {"b": 3, "a": 1}),
    (positional_only, (1,), {}),
    (positional_only, (1, 3), {}),
    (all_defaults, (), {}),
    (all_defaults, (), {"c": 9}),
    (all_defaults, (7, 8, 9), {}),
    (varargs, (1,), {}),
    (varargs, (1, 3, 4, 5), {}),
    (varargs, (), {"a": 1}),
    (defaults_and_varargs, (), {}),
    (defaults_and_varargs, (7, 8), {}),
    (keyword_only, (), {"d": 4}),
    (keyword_only, (), {"e": 6, "d": 4}),
    (keywords, (1,), {"x": 1, "more": 2}),
    (keywords_alone, (), {}),
    (keywords_alone, (), {"self": 1, "more": {"x": 1}}),
    (everything, (1,), {"d": 4}),
    (everything, (1, 2, 3, 4, 5), {"d": 6, "e": 7, "f": 8}),
    (everything, (1,), {"c": 30, "d": 6, "z": None}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), CALLS)
def test_a_call_comes_back_from_its_payload_as_the_same_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    signature = inspect.signature(function)
    payload = decode(encode(payload_of("sync", signature, args, kwargs), "the payload"))
    back, named = arguments_of(signature, PayloadSchema("sync", signature.parameters).revive(json.dumps(payload)))
    assert function(*args, **kwargs) == function(*back, **named)


@pytest.mark.parametrize(
    ("function", "payload", "meant"),
    [
        (all_defaults, {"b": 5}, (1, 5, 3)),
        (all_defaults, {"c": 5}, (1, 2, 5)),
        (defaults_and_varargs, {"rest": [8, 9]}, (1, (8, 9))),
        (varargs, {"a": 0, "rest": [8, 9]}, (0, 2, (8, 9))),
        (varargs, {"rest": [8], "a": 0, "b": 1}, (0, 1, (8,))),
    ],
)
def test_a_payload_by_name_gives_each_parameter_its_own_value(
    function: Callable[..., Any], payload: dict[str, Any], meant: Any
) -> None:
    args, kwargs = arguments_of(inspect.signature(function), payload)
    assert meant == function(*args, **kwargs)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (), {}),
        (plain, (1, 2, 3), {}),
        (plain, (1,), {"c": 1}),
        (keyword_only, (1,), {}),
        (plain, (1,), {"a": 1}),
    ],
)
def test_a_call_that_does_not_fit_the_signature_is_refused(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(PayloadInvalid) as refused:
        payload_of("sync", inspect.signature(function), args, kwargs)
    assert [""] == [fault["pointer"] for fault in refused.value.faults]


def test_a_keyword_that_has_the_name_of_a_positional_parameter_cannot_hide_it() -> None:
    def ambiguous(a: Any, /, **more: Any) -> Any:
        return a, more

    with pytest.raises(PayloadInvalid):
        payload_of("sync", inspect.signature(ambiguous), (1,), {"a": 2})
