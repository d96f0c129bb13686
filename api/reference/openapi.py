"""The document of the API (OpenAPI 3.1), made from the code: paths from the routes, words from the docstrings of the
views, shapes from their types. So it cannot say what the code does not do."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from flask import Blueprint, Flask, current_app, jsonify
from flask.typing import ResponseReturnValue
from werkzeug.routing import Rule

from ...state.payload import json_schemas
from .. import shapes
from ..access.scopes import ANY_KEY, PUBLIC, needs
from ..exchange import idempotency
from ..exchange.problems import PROGRAMS
from ..exchange.told import Media, Told, told
from ..shapes import scalars
from . import prose

blueprint = Blueprint("openapi", __name__)

KEY = "celeriac-openapi"
BODILESS = ("HEAD", "OPTIONS")
SCHEMAS = "#/components/schemas/"
PROBLEM = "application/problem+json"

# What stands in a path: its type, in words, and an example where the type has none. `runs/<id>` is the id of a run.
PARAMETERS: dict[str, tuple[Any, ...]] = {
    "alerts/name": (str, "The name of an alert", "ops"),
    "bulk/id": (scalars.BulkId, "The id of an order"),
    "callbacks/token_id": (scalars.TokenId, "The id of a token, which is a secret here"),
    "deliveries/id": (scalars.DeliveryId, "The id of a delivery"),
    "endpoints/name": (str, "The name of a webhook endpoint", "github"),
    "errors/id": (scalars.ErrorId, "The id of an error"),
    "hooks/name": (str, "The name of a webhook endpoint", "github"),
    "id/order": (str, "What it is to do", "drain"),
    "id/verb": (str, "What becomes of it", "resolve"),
    "quarantine/id": (scalars.RefusedId, "The id of a refused request"),
    "keys/id": (scalars.KeyId, "The id of a key"),
    "queues/name": (str, "The name of a queue", "crm"),
    "runs/id": (scalars.RunId, "The id of a run"),
    "schedules/key": (str, "The key of a schedule", "nightly"),
    "secrets/id": (scalars.SecretId, "The id of a secret"),
    "subscriptions/name": (str, "The name of a subscription", "crm"),
    "steps/key": (str, "The key of a step, as `charge#2`", "charge#2"),
    "tokens/id": (scalars.TokenId, "The id of a token"),
    "workers/id": (str, "The name of a worker, or the id of one with Celeriac", "celery@atlas"),
    "broker/name": (str, "The name of a list of the broker", "celery"),
    "workflows/name": (str, "The name of a workflow", "sync-customer-data"),
}

# Groups of operations, by what their paths begin with: the first that fits.
TAGS: tuple[tuple[str, str, str], ...] = (
    ("/api/v1/workflows", "Workflows", "What can be started, and starting it."),
    ("/api/v1/runs", "Runs", "Looking at runs, and moving them."),
    ("/api/v1/logs", "Runs", ""),
    ("/api/v1/bulk", "Bulk", "Many runs moved by one order."),
    ("/api/v1/events", "Signals", "What others tell runs: events, messages, completions of tokens."),
    ("/api/v1/tokens", "Signals", ""),
    ("/callbacks", "Signals", ""),
    ("/api/v1/queues", "Queues", "How queues stand, and their limits."),
    ("/api/v1/schedules", "Schedules", "What starts by itself."),
    ("/api/v1/errors", "Errors", "Failed runs, grouped by their reason."),
    ("/api/v1/alerts", "Alerts", "Who is told that something goes wrong."),
    ("/hooks", "Webhooks", "The inbox: endpoints, deliveries, and requests that were refused."),
    ("/api/v1/endpoints", "Webhooks", ""),
    ("/api/v1/deliveries", "Webhooks", ""),
    ("/api/v1/quarantine", "Webhooks", ""),
    ("/api/v1/subscriptions", "Subscriptions", "Who is told, by a signed webhook, what happens here."),
    ("/api/v1/callback-secret", "Subscriptions", ""),
    ("/api/v1/keys", "Keys", "API keys with scopes, and who changed what."),
    ("/api/v1/whoami", "Keys", ""),
    ("/api/v1/audit", "Keys", ""),
    ("/api/v1/workers", "Workers", "Celery workers, with Celeriac or without, and the lists of their broker."),
    ("/api/v1/nodes", "Workers", ""),
    ("/api/v1/broker", "Workers", ""),
    ("/", "System", "Services, health, this document."),
)

REFUSALS = {
    400: "The query, a header or the JSON of the body cannot be read",
    401: "The API key is missing, or not the right one",
    403: "The API key is not for this, or a page of another site asked",
    404: "There is no such thing",
    405: "It is not asked this way",
    409: "Its status does not allow that, or someone else was first",
    412: "It was changed since that ETag: look at it again",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "The body is JSON, and not as it should be: `errors` names each place",
    429: "Too many: try again after `Retry-After` seconds",
    500: "A fault of the server, or a run that ended without a result",
    503: "Postgres or the broker is away, or there is no room: nothing was done, try again after `Retry-After` seconds",
    504: "A worker that is alive did not answer in time",
}


def _header(name: str, told: str, **words: Any) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": told, "schema": {"type": "string", **words}}


KEY_HEADER = _header(
    "Idempotency-Key", "Sent again with the same key it is done once, and answered the same", minLength=1, maxLength=255
)
NONE_MATCH_HEADER = _header("If-None-Match", "The ETag of what is known: 304 while nothing changed")
MATCH_HEADER = _header("If-Match", "The ETag of what is to be changed: 412 where somebody was first")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route."""

    rule: Rule
    method: str
    view: Any

    @property
    def told(self) -> Told:
        declared: Told = vars(self.view)["told"]
        return declared

    @property
    def path(self) -> str:
        return re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", self.rule.rule)

    @property
    def is_open(self) -> bool:
        """Whether it needs no key."""
        return bool(self.scope == PUBLIC)

    @property
    def takes_key(self) -> bool:
        """Whether it takes an Idempotency-Key, as every POST below /api does."""
        return self.method == "POST" and self.rule.rule.startswith(idempotency.BELOW)

    @property
    def scope(self) -> str | None:
        """What its key has to hold; `workflows:trigger:{name}` where one of a single workflow will do."""
        scope, of = vars(self.view).get("scope"), vars(self.view).get("scope_of")
        return f"{scope}:{{{of}}}" if of else scope

    @property
    def tag(self) -> str:
        return next(name for start, name, _ in TAGS if self.path.startswith(start))


@blueprint.get("/api/v1/openapi.json")
@needs(ANY_KEY)
@told({200: dict[str, Any]})
def show() -> ResponseReturnValue:
    """Shows this document.

    It is made from the code that answers, so it is that of the version that runs.
    """
    return jsonify(document_of(current_app))


def document_of(app: Flask) -> dict[str, Any]:
    """The document, made once for each application."""
    if KEY not in app.extensions:
        app.extensions[KEY] = make(app)
    made: dict[str, Any] = app.extensions[KEY]
    return made


def make(app: Flask) -> dict[str, Any]:
    """Makes it."""
    found = sorted(operations(app), key=lambda each: (each.path, each.method))
    schemas, components = _schemas(found)
    problem = {PROBLEM: {"schema": schemas[shapes.problems.ProblemDocument]}}
    paths: dict[str, dict[str, Any]] = {}
    for each in found:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Celeriac",
            "version": version("celeriac"),
            "summary": "Durable workflows for teams that already run Celery",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": told} for _, name, told in TAGS if told],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                str(status): {"description": told, "content": problem} for status, told in REFUSALS.items()
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key"},
                "basic": {"type": "http", "scheme": "basic", "description": "An API key as the password, for browsers"},
                "run_token": {"type": "http", "scheme": "bearer", "description": "A token of the run, to look at it"},
            },
        },
    }  # fmt: skip


def operations(app: Flask) -> Iterator[Operation]:
    """Every operation for programs: the page is for people. A view that tells nothing is left out, and a test fails."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if rule.rule.startswith(PROGRAMS) and "told" in vars(view):
            for method in sorted((rule.methods or set()) - set(BODILESS)):
                yield Operation(rule, method, view)


def _operation(each: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    told = each.told
    summary, description, said = prose.of_view(each.view)
    parameters = [_path_parameter(each, name) for name in re.findall(r"{(\w+)}", each.path)]
    parameters += _query_parameters(schemas.get(told.query))
    scopes = [each.scope] if each.scope and each.scope != ANY_KEY else []
    answers = {
        str(status): _answer(shape, said.get(status, HTTPStatus(status).phrase), schemas)
        for status, shape in told.answers.items()
    }
    operation: dict[str, Any] = {
        "operationId": each.rule.endpoint,
        "tags": [each.tag],
        "summary": summary,
        "description": description,
        "parameters": parameters + _headers(each),
        "responses": answers,
        "security": [] if each.is_open else [{"bearer": scopes}, {"basic": scopes}, *_run_token(each)],
    }  # fmt: skip
    if told.is_tagged:
        answers["304"] = {"description": "Nothing changed since that ETag"}
    if told.bodies:
        is_needed = any(getattr(body, "__required_keys__", ()) for body in told.bodies)
        content = {kind: words for body in told.bodies for kind, words in _content(body, schemas).items()}
        operation["requestBody"] = {"required": is_needed, "content": content}
    for status in sorted(refusals(each) - set(told.answers)):
        answers[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return operation


def _run_token(each: Operation) -> list[dict[str, list[str]]]:
    return [{"run_token": []}] if vars(each.view).get("takes_run_token") else []


def refusals(each: Operation) -> set[int]:
    """The statuses of its errors: its own, and those that follow from what it takes."""
    told = each.told
    found = set(told.refuses)
    if not each.is_open:
        found |= {401, 403, 429, 503}
    if "{" in each.path:
        found |= {404, 503}
    if told.query is not None:
        found |= {400}
    if told.takes_json:
        found |= {400, 413, 415, 422}
    if each.takes_key:
        found |= {400, 409, 413, 422}
    if told.edits:
        found |= {412}
    return found


def _headers(each: Operation) -> list[dict[str, Any]]:
    told = each.told
    return [KEY_HEADER] * each.takes_key + [NONE_MATCH_HEADER] * told.is_tagged + [MATCH_HEADER] * told.edits


def _answer(shape: Any, description: str, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    answer = {"description": description}
    return answer if shape is None else answer | {"content": _content(shape, schemas)}


def _content(shape: Any, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    if isinstance(shape, Media):
        return {shape.type: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": schemas[shape]}}


def _path_parameter(each: Operation, name: str) -> dict[str, Any]:
    before = re.search(rf"([\w{{}}]+)/{{{name}}}", each.path)
    place = f"{before[1].strip('{}') if before else ''}/{name}"
    annotation, told, *given = PARAMETERS.get(place, (str, "", name))  # a test says where words are missing
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    for words in getattr(annotation, "__metadata__", ()):
        schema |= words.words
    converter = each.rule._converters.get(name)
    if items := getattr(converter, "items", None):
        schema["enum"] = sorted(items)
    example = (given or schema["examples"])[0]
    return {"name": name, "in": "path", "required": True, "description": told, "schema": schema, "example": example}


def _query_parameters(schema: dict[str, Any] | None) -> list[dict[str, Any]]:
    if schema is None:
        return []
    needed = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in needed, "description": words.get("description", "")}
        | {"schema": {word: value for word, value in words.items() if word != "description"}}
        for name, words in schema["properties"].items()
    ]


def _schemas(found: list[Operation]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type that a view names (for those of a query whole, for the others a reference), and the
    components that they refer to. A body has no member that is not named, an answer may have more in time."""
    answers = [shape for each in found for shape in each.told.answers.values()]
    bodies, queries = [body for each in found for body in each.told.bodies], [each.told.query for each in found]
    schemas, components = json_schemas(_named([*answers, shapes.problems.ProblemDocument]), SCHEMAS)
    of_bodies, closed = json_schemas(_named(bodies), SCHEMAS, is_closed=True)
    of_queries, flat = json_schemas(_named(queries), SCHEMAS)
    whole = {query: flat[schema["$ref"].removeprefix(SCHEMAS)] for query, schema in of_queries.items()}
    _describe(flat)
    _describe(components | closed)
    return {**schemas, **of_bodies, **whole}, dict(sorted({**components, **closed}.items()))


def _describe(components: Mapping[str, dict[str, Any]]) -> None:
    """Gives members the words that stand below them, in place of their names again."""
    for name, schema in components.items():
        for member, words in schema.get("properties", {}).items():
            words.pop("title", None)
            if told := prose.of_members().get(name, {}).get(member):
                words["description"] = told


def _named(given: list[Any]) -> list[Any]:
    """Each type once, in its order."""
    return list(dict.fromkeys(each for each in given if each is not None and not isinstance(each, Media)))
