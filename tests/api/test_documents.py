"""Documents as the page shows them: without secrets, cut where they are long, whole as a file."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from celeriac.api.page.document import LIMIT, restored, shown
from celeriac.state.ids import new_id

Start = Callable[..., str]
ANYTHING = "api-tests.anything"


@pytest.fixture
def app(client: FlaskClient) -> Any:
    app: Flask = client.application
    with app.test_request_context():
        yield app


@pytest.mark.usefixtures("app")
def test_a_long_document_is_cut_at_the_end_of_a_line() -> None:
    told = shown(json.dumps({f"key{n}": "x" * 100 for n in range(2000)}))
    assert told is not None
    assert told.is_cut
    assert LIMIT - 200 < len(told.text) <= LIMIT
    assert told.text.endswith('",')


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("text", ["9007199254740993", "-1", "1.5", '"é"', "null", "[]", '{"a": 12345678901234567890}'])
def test_a_value_is_written_as_it_was_kept(text: str) -> None:
    told = shown(text)
    assert told is not None
    assert text == told.brief
    assert not told.is_cut


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("edited", "original", "sent"),
    [
        ({"password": "***", "n": 2}, {"password": "hunter2-hunter2", "n": 1}, {"password": "hunter2-hunter2", "n": 2}),
        ({"a": [{"token": "***"}]}, {"a": [{"token": {"deep": 1}}]}, {"a": [{"token": {"deep": 1}}]}),
        ({"password": "another"}, {"password": "hunter2"}, {"password": "another"}),
        ({"said": "password=***"}, {"said": "password=hunter2"}, {"said": "password=hunter2"}),
        ({"stars": "***"}, {}, {"stars": "***"}),
        ({"note": "*** urgent"}, {"note": "urgent"}, {"note": "*** urgent"}),
        (["***"], [], ["***"]),
        ("***", 5, 5),
    ],
)
def test_what_was_hidden_comes_back_from_a_form(edited: Any, original: Any, sent: Any) -> None:
    assert sent == restored(edited, original)


def test_a_payload_that_is_edited_keeps_its_secrets(client: FlaskClient, start: Start) -> None:
    id = start({"password": "hunter2-hunter2", "n": 1}, name=ANYTHING)
    html = client.get(f"/runs/{id}").text
    assert "hunter2" not in html
    assert "What stays *** is sent as it was." in html
    answer = client.post(f"/runs/{id}/replay", data={"payload": '{"password": "***", "n": 2}'})
    new = answer.headers["Location"].rpartition("/")[2].partition("?")[0]
    assert {"password": "hunter2-hunter2", "n": 2} == client.get(f"/api/v1/runs/{new}").json["payload"]


def test_a_whole_document_is_a_file(client: FlaskClient, start: Start, worker: Any) -> None:
    id = start({"large": "x" * 100_000, "password": "hunter2-hunter2"}, name=ANYTHING)
    run = worker.claim(id)
    worker.checkpoint(run, "fetch", ["y" * 100_000])
    page = client.get(f"/runs/{id}?step=fetch").text
    assert f"/runs/{id}/documents/payload" in page
    assert f"/runs/{id}/documents/output?step=fetch" in page
    whole = client.get(f"/runs/{id}/documents/payload")
    assert {"large": "x" * 100_000, "password": "***"} == whole.json
    assert f'attachment; filename="{id[-8:]}-payload.json"' == whole.headers["Content-Disposition"]
    assert ["y" * 100_000] == client.get(f"/runs/{id}/documents/output?step=fetch").json


@pytest.mark.parametrize("path", ["output", "error", "output?step=nothing", "output?step=%00", "metadata"])
def test_a_document_that_is_not_there_is_told(client: FlaskClient, start: Start, path: str) -> None:
    assert 404 == client.get(f"/runs/{start()}/documents/{path}").status_code
    assert 404 == client.get(f"/runs/run_{new_id().hex}/documents/payload").status_code
