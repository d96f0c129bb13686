"""The OpenAPI document: whole, valid, and what the code does. That each answer is as it says, every test of the API
looks at (contract.py)."""

import inspect
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from celery import Celery
from contract import check_answer
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from celeriac import Celeriac, workflow
from celeriac.api import create_app
from celeriac.api.exchange.problems import PROGRAMS
from celeriac.api.reference import samples
from celeriac.api.reference.openapi import Operation, operations
from celeriac.api.rest import documents

DATABASE_AWAY = "postgresql://nobody@127.0.0.1:1/none"
REDIS_AWAY = "redis://127.0.0.1:1/0"
DOCUMENT = "/api/v1/openapi.json"


@workflow(name="openapi-tests.invoice")
def invoice(customer_id: str, lines: list[int], note: str | None = None) -> None: ...


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    celery = Celery("openapi-tests")
    celery.conf.update({"celeriac_database_url": DATABASE_AWAY, "celeriac_redis_url": REDIS_AWAY})
    durable = Celeriac(celery)
    yield create_app(durable)
    durable.close()


@pytest.fixture(scope="module")
def document(app: Flask) -> dict[str, Any]:
    """As it is served, which takes neither Postgres nor Redis."""
    answer = app.test_client().get(DOCUMENT)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.get_json()
    return told


def each(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, told) for path, methods in document["paths"].items() for method, told in methods.items()]


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert "3.1.0" == document["openapi"]
    assert [] == [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def test_every_route_for_programs_is_in_the_document(app: Flask, document: dict[str, Any]) -> None:
    missing = [
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(PROGRAMS)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if method.lower() not in document["paths"].get(re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule), {})
    ]
    assert [] == missing
    assert len(document["paths"]) > 60


def test_every_call_is_told_in_words(document: dict[str, Any]) -> None:
    for method, path, told in each(document):
        place = f"{method} {path}"
        assert re.fullmatch(r"[A-Z].+\.", told["summary"]), place
        assert all(parameter["description"] for parameter in told["parameters"] if parameter["in"] == "path"), place
        assert {told["tags"][0]} <= {tag["name"] for tag in document["tags"]}, place
    names = [f"{method} {told['operationId']}" for method, _, told in each(document)]
    assert len(names) == len(set(names))


def test_the_document_says_which_scope_a_call_needs(app: Flask, document: dict[str, Any]) -> None:
    security = {told["operationId"]: told["security"] for _, _, told in each(document)}
    assert [{"bearer": ["runs:read"]}, {"basic": ["runs:read"]}] == security["runs.find"]
    assert [{"bearer": ["workflows:trigger:{name}"]}, {"basic": ["workflows:trigger:{name}"]}] == security[
        "runs.trigger"
    ]
    assert [] == security["hooks.receive"]
    assert {"run_token": []} in security["runs.show_steps"]
    for operation in operations(app):
        assert operation.scope is not None, operation.rule
        assert (operation.scope == "public") == (security[operation.rule.endpoint] == [])


def test_what_is_said_below_a_member_is_its_description(document: dict[str, Any]) -> None:
    shapes = document["components"]["schemas"]
    assert "Of the code that executed it last" == shapes["Run"]["properties"]["version"]["description"]
    assert "What live workers offer" == shapes["WholeQueue"]["properties"]["slots"]["description"]  # inherited twice
    found = document["paths"]["/api/v1/runs"]["get"]["parameters"]
    assert "The `next_cursor` of the page before" == next(p for p in found if p["name"] == "cursor")["description"]


def test_what_a_docstring_says_of_a_status_is_the_description_of_that_answer(document: dict[str, Any]) -> None:
    answers = document["paths"]["/api/v1/runs/{id}/cancel"]["post"]["responses"]
    assert "It is cancelled." == answers["200"]["description"]
    assert "It ends at its next step, or when it has cleaned up." == answers["202"]["description"]
    assert {"200", "202", "400", "401", "403", "404", "409", "413", "415", "422", "429", "503"} == set(answers)


def test_a_view_reads_the_members_that_it_tells(app: Flask) -> None:
    for operation in operations(app):
        if read := re.findall(r"(?:read_object|_body)\([^\n]*(shapes\.bodies\.\w+)\)", source(operation)):
            assert [f"shapes.bodies.{operation.told.bodies[0].__name__}"] == read, operation.rule


def test_a_body_has_no_member_that_is_not_told(client: FlaskClient) -> None:
    refused = client.post("/api/v1/bulk", json={"action": "retry", "filter": {}, "dryrun": True})
    assert (422, "/dryrun") == (refused.status_code, refused.get_json()["errors"][0]["pointer"])
    assert client.get(DOCUMENT).get_json()["components"]["schemas"]["BulkBody"]["additionalProperties"] is False


def test_an_answer_that_is_not_as_it_is_told_fails_a_test(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    path, body = "/api/v1/workflows/api-tests.greet/trigger", {"payload": {"name": "Ada"}}
    assert client.post(path, json=body).status_code == 202
    monkeypatch.setattr(documents, "started", lambda row: {"id": "run_1", "status": row.status, "mood": "good"})
    with pytest.raises(AssertionError, match=r"mood.*run_1|run_1.*mood"):
        client.post(path, json=body)


def test_an_answer_of_a_status_that_is_not_told_fails_a_test(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.view_functions, "health.live", lambda: ("gone", 410))
    app.view_functions["health.live"].scope = "public"  # type: ignore[attr-defined]
    answer = app.test_client().get("/livez")
    monkeypatch.undo()
    with pytest.raises(AssertionError, match="GET /livez answered 410, and tells only 200"):
        check_answer(app, answer)


def test_the_samples_send_what_the_document_takes(document: dict[str, Any]) -> None:
    taken = {told["operationId"]: told.get("requestBody", {}) for _, _, told in each(document)}
    for name, body in samples.BODIES.items():
        for kind, content in taken[name]["content"].items():
            if kind == "application/json":
                schema = {**content["schema"], "components": document["components"]}
                assert [] == [fault.message for fault in Draft202012Validator(schema).iter_errors(body)], name


def test_the_page_has_every_call_with_an_anchor_of_its_own(app: Flask, document: dict[str, Any]) -> None:
    page = Page(app.test_client().get("/docs").text)
    assert len(page.ids) == len(set(page.ids))
    for method, path, told in each(document):
        assert f"{told['operationId']}-{method}" in page.ids
        assert path in page.text
    assert set(page.fragments) <= set(page.ids)


def test_the_page_brings_no_script_of_its_own_and_nothing_from_elsewhere(app: Flask) -> None:
    page = Page(app.test_client().get("/docs").text)
    assert page.loaded
    assert all(address.startswith("/static/") for address in page.loaded)
    assert [] == page.inline


def test_the_page_shows_what_workflows_take(client: FlaskClient) -> None:
    text = " ".join(Page(client.get("/docs").text).text.split())
    assert "openapi-tests.invoice customer_id needed string lines needed list of integer note string or null" in text


def source(operation: Operation) -> str:
    return "" if not operation.told.takes_json else inspect.getsource(operation.view)


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, markup: str):
        super().__init__()
        self.ids: list[str] = []
        self.fragments: list[str] = []
        self.loaded: list[str] = []  # addresses of scripts, styles and images
        self.inline: list[str] = []
        self._texts: list[str] = []
        self.feed(markup)

    @property
    def text(self) -> str:
        return " ".join(self._texts)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if "id" in given:
            self.ids.append(given["id"])
        if given.get("href", "").startswith("#"):
            self.fragments.append(given["href"][1:])
        if tag in ("script", "img") or given.get("rel") in ("stylesheet", "icon"):
            self.loaded.append(given.get("src") or given.get("href", ""))
        self.inline += [tag] * (tag == "style" or (tag == "script" and "src" not in given))
        self.inline += [name for name in given if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self._texts.append(data)
