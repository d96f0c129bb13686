"""Calls that nobody would write: made from the OpenAPI document by schemathesis, and of garbage by Hypothesis. Whatever
comes, the server is not at fault, and answers as it tells. Both are the same calls each time."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from celery import Celery
from databases import Databases
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from werkzeug.routing import Rule

from celeriac import Celeriac
from tests.api.conftest import Client, Worker, client_of, hooked

DOCUMENT = "/api/v1/openapi.json"
EXAMPLES = 3  # calls of one operation, that fit the document; and as many that do not
GARBAGE = 5  # calls of one route
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = "stream.of_runs"
NO_REAL_RUN = ("logs.stream", "stream.of_run")  # which would go on until the run ends


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in (value if isinstance(value, list) else [value]))


def calls(most: int) -> Any:
    return settings(
        max_examples=most, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip


@pytest.fixture(scope="module")
def durable(databases: Databases, redis_server_url: str) -> Iterator[Celeriac]:
    url = databases.new()
    celery = Celery("fuzz", broker=redis_server_url)
    celery.conf.update({"celeriac_database_url": url, "celeriac_redis_url": redis_server_url})
    durable = hooked(Celeriac(celery))
    yield durable
    durable.close()
    databases.drop(url)


@pytest.fixture(scope="module")
def client(durable: Celeriac) -> Client:
    return client_of(durable)


@pytest.fixture(scope="module")
def app(client: Client) -> Flask:
    return client.application


@pytest.fixture(scope="module")
def known(client: Client, durable: Celeriac) -> dict[str, list[str]]:
    """By the names of path parameters what there is: runs that wait, failed and completed, a schedule, a queue, ..."""
    worker, path = Worker(durable), "/api/v1/workflows/api-tests.greet/trigger"
    runs = [client.post(path, json={"payload": {"name": "Ada"}}).get_json()["id"] for _ in range(4)]
    worker.wait(runs[1])
    worker.fail_in(runs[2], "charge")
    worker.complete(runs[3])
    body = {"key": "nightly/1", "workflow": "api-tests.greet", "cron": "0 3 * * *", "payload": {"name": "Ada"}}
    assert client.post("/api/v1/schedules", json=body).status_code == 201
    order = client.post("/api/v1/bulk", json={"action": "cancel", "filter": {"workflow": "none"}}).get_json()["id"]
    endpoints = ["repository", "plain", "broken"]
    names = ["api-tests.greet", "api-tests.anything", *endpoints]
    return {"id": [*runs, order], "name": names, "key": ["nightly/1", "charge"], "token_id": ["tok_" + "0" * 32]}


def test_every_call_is_answered_as_the_document_says(app: Flask, known: dict[str, list[str]]) -> None:
    schema = schemathesis.openapi.from_wsgi(DOCUMENT, read_to_end(app))
    answered: Counter[str] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.definition.raw["operationId"] == ENDLESS:
            answered[operation.label] = 1
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            answered[operation.label] += answered_as_told(operation.as_strategy(mode), known)
    assert {found.ok().label for found in schema.get_all_operations()} == set(+answered)


def test_garbage_is_never_a_fault_of_the_server(client: Client, app: Flask, known: dict[str, list[str]]) -> None:
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods or set()) if rule.endpoint != ENDLESS else ():
            refused_at_most(client, rule, method, known)


def read_to_end(app: Flask) -> Any:
    """The application as a server asks it: an answer is closed, and its request over, before the next one comes."""

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        answer = app(environ | {"REMOTE_ADDR": "127.0.0.1"}, start_response)
        try:
            return [b"".join(answer)]
        finally:
            answer.close()  # type: ignore[attr-defined]

    return wsgi


def answered_as_told(cases: Any, known: dict[str, list[str]]) -> int:
    """How many calls were made; none where nothing in an operation can be wrong."""
    made = 0

    @calls(EXAMPLES)
    @given(case=cases, data=st.data())
    def call(case: Any, data: Any) -> None:
        nonlocal made
        aim(case, data, known)
        case.validate_response(case.call(), checks=CHECKS)
        made += 1

    with suppress(Unsatisfiable):
        call()
    return made


def refused_at_most(client: Client, rule: Rule, method: str, known: dict[str, list[str]]) -> None:
    @calls(GARBAGE)
    @given(data=st.data())
    def call(data: Any) -> None:
        path, query = path_of(rule, data, known), data.draw(st.lists(st.tuples(NAMES, TEXTS), max_size=3))
        body, headers = data.draw(BODIES), dict(data.draw(st.lists(HEADERS, max_size=3)))
        answer = client.open(path, method=method, query_string=encoded(query), data=body, headers=headers)
        assert answer.status_code < 500, (method, path, query, body, headers, answer.text[:1000])

    call()


TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from([
        "", "\0", "'", "%", "\ud800", "null", "-1", "0", "1e999", "NaN", "99999999999999999999",
        "2030-01-31T12:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "run_" + "f" * 32,
        "failed,crashed", "WyIyMDMwIiwgIiJd",
    ]),
)  # fmt: skip
NAMES = st.one_of(
    st.sampled_from([
        "limit", "cursor", "status", "workflow", "tag", "queue", "created_from", "created_to", "parent_id", "level",
        "step", "from", "to", "text", "state", "paused", "prefix", "endpoint", "received_from", "n", "timezone",
        "notice",
        "id", "action", "member", "hub.mode",
    ]),
    st.text(max_size=8),
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS.map(lambda text: text.replace("\ud800", "")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
MEMBERS = st.sampled_from([
    "payload", "payloads", "options", "action", "filter", "dry_run", "limits", "note", "members", "key", "workflow",
    "cron", "every", "start", "end", "name", "verify", "routes", "secret", "expires_at", "overlap_seconds", "result",
    "error", "topic", "from_step", "output", "countdown", "eta", "reason", "body", "endpoint", "terminate", "timezone",
    "catch_up", "jitter", "overlap", "external_id",
])  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(MEMBERS, JSON, max_size=5).map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.just(b'{"payload": {"name": "\\ud800"}}'),
    st.just(b"[" * 2000),
)
HEADERS = st.one_of(
    st.sampled_from([
        ("Content-Type", "application/json"), ("Content-Type", "application/json"), ("Content-Type", "text/plain"),
        ("Content-Type", "application/x-www-form-urlencoded"), ("Content-Type", ";;;"), ("Content-Encoding", "gzip"),
        ("Content-Length", "-1"), ("Authorization", "Bearer"), ("Authorization", "Basic %%%"), ("Accept", "*/*;q=x"),
        ("Idempotency-Key", '"'), ("Idempotency-Key", "k" * 256), ("Last-Event-ID", "-1"), ("Range", "bytes=9-1"),
        ("If-Match", "*"), ("If-None-Match", '"x"'), ("Host", "[::1"), ("Cookie", "a=\x80"), ("Origin", "null"),
    ]),
    st.tuples(st.just("Idempotency-Key"), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)),
)  # fmt: skip


def aim(case: Any, data: Any, known: dict[str, list[str]]) -> None:
    """Half of the calls are for what there is: the others would all be 404."""
    (case.query or {}).pop("wait", None)  # a run that nobody executes
    if case.operation.definition.raw["operationId"] in NO_REAL_RUN or not data.draw(st.booleans()):
        return
    for name in case.path_parameters or {}:
        if name in known:
            case.path_parameters[name] = data.draw(st.sampled_from(known[name]))


def path_of(rule: Rule, data: Any, known: dict[str, list[str]]) -> str:
    values: dict[str, Any] = {}
    for name in rule.arguments:
        choices = known.get(name, []) if rule.endpoint not in NO_REAL_RUN else []
        values[name] = data.draw(st.sampled_from(choices) | TEXTS if choices else TEXTS)
    return re.sub(r"<(?:[^<>]*:)?(\w+)>", lambda part: quoted(values[part[1]]), rule.rule)


def encoded(query: list[tuple[str, str]]) -> str:
    return "&".join(f"{quoted(name)}={quoted(text)}" for name, text in query)


def quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))
