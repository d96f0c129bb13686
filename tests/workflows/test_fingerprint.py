"""Which errors count as the same."""

import json

import pytest

from celeriac.workflows.engine.failure import error_document
from celeriac.workflows.signals import fingerprint as module
from celeriac.workflows.signals.fingerprint import fingerprint

TRACEBACK = """Traceback (most recent call last):
  File "{ours}/workflows/engine/attempt.py", line 150, in _called
    return self.call.body(*arguments)
  File "/srv/app/shop/orders.py", line {line}, in charge
    client.post(order)
  File "/usr/lib/python3.11/site-packages/httpx/_client.py", line 9, in post
    raise ConnectError(message)
httpx.ConnectError: no route

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/app/shop/flows.py", line 7, in fulfil
    charge(order)
httpx.ConnectError: no route
"""


def of(message: str, workflow: str = "w", type_: str = "ValueError", traceback: str | None = None) -> str:
    return fingerprint(workflow, json.dumps({"type": type_, "message": message, "traceback": traceback})).hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 is late by 3.5 s", "order 9 is late by 120 s"),
        ("no such customer: 'ada'", "no such customer: 'bob'"),
        ("run_019ab3c4d5e67890a1b2c3d4e5f60718 is gone", "run_0fffb3c4d5e67890a1b2c3d4e5f60718 is gone"),
        ("1a2b3c4d-1111-2222-3333-444455556666 is gone", "9f8e7d6c-aaaa-4bbb-8ccc-ddddeeeeffff is gone"),
        ("<Shop object at 0x7f2d303a4b80>", "<Shop object at 0x7f1111114b80>"),
        ("10.0.0.1:5432 refused", "10.0.12.7:5433 refused"),
        ("first line\nrow 1", "first line\nanother row"),
        ("cannot open /data/acme/in.csv", "cannot open /data/bolt-2/2030/in.csv"),
        ("cannot open C:\\data\\acme\\in.csv", "cannot open C:\\data\\bolt\\other.csv"),
        ("no such customer: cus_NffrFeUfNV2Hib", "no such customer: cus_Q1vLzMkWcYd8Re"),
        ("order 01ARZ3NDEKTSV4RRFFQ69G5FAV is late", "order 01BX5ZZKBKACTAV9WEVGEMMVRZ is late"),
        ("GET https://api.shop.example/orders/a?page=x", "GET https://api.shop.example/orders/b"),
        ("ada@shop.example has left", "bob.smith@mail.example has left"),
        ("expected 0.5, got -1e-05", "expected 1.5, got 3"),
        ("cannot parse 'ada" + "a" * 500 + "' of it", "cannot parse 'bob' of it"),
        ("cannot parse 'ada\nlovelace'", "cannot parse 'bob'"),
        ("no row for 'ada's order'", "no row for 'bob's cart'"),
    ],
)
def test_errors_that_differ_in_values_are_the_same(one, other):
    assert of(one) == of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (of("declined"), of("expired")),
        (of("declined"), of("declined", workflow="v")),
        (of("declined"), of("declined", type_="KeyError")),
        (of("facade"), of("decade")),  # words of hexadecimal letters are words
        (of("can't reach the bank"), of("can't reach the shop")),  # an apostrophe is no quote
        (of("and/or"), of("either/or")),
    ],
)
def test_errors_that_differ_in_words_type_or_workflow_are_not(one, other):
    assert one != other


def test_the_frame_is_the_innermost_of_the_shops_own_and_its_line_does_not_count():
    told = [TRACEBACK.format(ours=module.OURS, line=line) for line in (10, 99)]
    found = [fingerprint("w", json.dumps({"type": "E", "message": "no route", "traceback": each})) for each in told]
    assert ["shop/orders.py in charge"] * 2 == [each.frame for each in found]
    assert found[0].hash == found[1].hash


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/srv/releases/20300131120000", "/srv/releases/20300207093000"),
        ("/srv/shop-1.2.3", "/srv/shop-1.3.0"),
        ("/tmp/9f8e7d6caaaa4bbb8cccddddeeeeffff", "/tmp/0a1b7d6caaaa4bbb8cccddddeeeeffff"),
    ],
)
def test_a_release_in_a_folder_of_its_own_does_not_make_a_new_error(one, other):
    def failed_in(file: str) -> str:
        return of("declined", traceback=f'Traceback:\n  File "{file}", line 7, in charge\n')

    assert failed_in(f"{one}/tasks.py") == failed_in(f"{other}/tasks.py")
    assert failed_in(f"{one}/tasks.py") != failed_in(f"{one}/flows.py")


def test_an_error_as_it_is_recorded_has_the_place_that_raised_it():
    def raises() -> None:
        raise ValueError("no box fits")

    try:
        raises()
    except ValueError as error:
        found = fingerprint("w", error_document(error))
    assert ("ValueError", "no box fits") == (found.type, found.message)
    assert found.frame.endswith(("in raises", "in test_an_error_as_it_is_recorded_has_the_place_that_raised_it"))


def test_an_error_without_a_traceback_has_no_frame():
    assert "" == fingerprint("w", "{}").frame
