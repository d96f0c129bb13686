"""`/docs`: every call of the API on one page, made from the OpenAPI document, so that it says what the code does."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flask import Blueprint, current_app, render_template
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from ...state.errors import StateUnavailable
from .. import shapes
from ..access.scopes import ANY_KEY, needs
from ..page.page import has_key, server_url
from ..rest.catalogue import known_workflows
from . import samples
from .openapi import document_of

blueprint = Blueprint("reference_page", __name__)

REFERENCE = "#/components/schemas/"
DEEPEST = 3  # objects within objects, of a body


CODE = re.compile(r"`([^`]+)`")


class Member(NamedTuple):
    """A row of a table: a member of an object, or a parameter."""

    name: str
    depth: int
    type: str
    shape: str | None  # the name of the component that it is, or is a list of
    is_needed: bool
    told: str


@blueprint.get("/docs")
@needs(ANY_KEY)
def show() -> ResponseReturnValue:
    """The page. Without Postgres it is whole but for the workflows that there are."""
    document = document_of(current_app)
    components = document["components"]["schemas"]
    operations = [_operation(*each, document) for each in _each(document)]
    groups = [
        {**tag, "operations": [each for each in operations if each["tag"] == tag["name"]]} for tag in document["tags"]
    ]
    named = {name: schema for name, schema in components.items() if not name.endswith("Body")}
    return render_template(
        "reference.html",
        groups=groups,
        shapes={name: members_of(schema, components, 0) for name, schema in named.items()},
        descriptions={name: schema.get("description", "") for name, schema in named.items()},
        workflows=_workflows(),
        version=document["info"]["version"],
        server=server_url(),
        has_key=has_key(),
        marked=marked,
    )


def marked(text: str) -> Markup:
    """Words of a docstring as a page has them: what stands in backquotes is code."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


def members_of(schema: Mapping[str, Any], components: Mapping[str, Any], deepest: int = DEEPEST) -> list[Member]:
    """The members of an object, each followed by its own where it is an object that has some."""
    return list(_members(_resolved(schema, components), components, deepest, 0))


def _members(schema: Mapping[str, Any], components: Mapping[str, Any], deepest: int, depth: int) -> Iterator[Member]:
    needed = schema.get("required", ())
    for name, words in schema.get("properties", {}).items():
        inner = next((each for each in _alternatives(words) if "$ref" in each or each.get("type") == "array"), words)
        item = inner.get("items", inner)
        shape = item["$ref"].removeprefix(REFERENCE) if "$ref" in item else None
        yield Member(name, depth, type_of(words), shape, name in needed, words.get("description", ""))
        if shape and depth < deepest:
            yield from _members(_resolved(item, components), components, deepest, depth + 1)


def type_of(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: `string or null`, `list of Step`, `skip | one | all`."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(each) for each in schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(REFERENCE)
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if schema.get("format") == "date-time":
        return "moment"
    return str(schema.get("type", "any JSON"))


def _each(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _operation(method: str, path: str, told: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    components, name = document["components"]["schemas"], told["operationId"]
    examples = {each["name"]: each["example"] for each in told["parameters"] if each["in"] == "path"}
    _, body = _content(told.get("requestBody", {}))
    filled, needs_key = samples.filled(path, examples), bool(told["security"]) and has_key()
    return {
        "id": f"{name}-{method.lower()}",
        "name": name,
        "method": method,
        "path": path,
        "tag": told["tags"][0],
        "summary": told["summary"].rstrip("."),
        "description": told["description"],
        "scope": next(iter(told["security"][0]["bearer"]), "any key") if told["security"] else None,
        "takes_run_token": {"run_token": []} in told["security"],
        "parameters": [_parameter(each) for each in told["parameters"]],
        "body": members_of(body, components) if body else None,
        "takes": type_of(body) if body else None,
        "answers": [_answer(status, answer) for status, answer in told["responses"].items() if "$ref" not in answer],
        "refusals": [
            (status, document["components"]["responses"][status]["description"])
            for status, answer in told["responses"].items()
            if "$ref" in answer
        ],
        "curl": samples.curl(server_url(), method, filled, name, needs_key),
        "python": samples.python(method, filled, name, examples),
    }  # fmt: skip


def _parameter(told: Mapping[str, Any]) -> tuple[str, Member]:
    is_needed = told.get("required", False)
    return told["in"], Member(told["name"], 0, type_of(told["schema"]), None, is_needed, told["description"])


def _content(told: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The content type of a body or an answer, and its schema."""
    for kind, content in told.get("content", {}).items():
        return kind, content["schema"]
    return "", None


def _answer(status: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    kind, schema = _content(answer)
    shown = type_of(schema or {}) if kind == "application/json" else kind or "nothing"
    names = [each["$ref"].removeprefix(REFERENCE) for each in _alternatives(schema or {}) if "$ref" in each]
    return {"status": status, "shape": shown, "names": names, "told": answer["description"]}


def _workflows() -> list[dict[str, Any]]:
    """Those that there are, each with the members of its payload; none where Postgres is away."""
    try:
        found: list[shapes.catalogue.Workflow] = known_workflows()
    except StateUnavailable:
        return []
    return [
        {"name": each["name"], "members": members_of(_local(each["schema"]), each["schema"].get("$defs", {}))}
        for each in found
    ]


def _local(schema: Any) -> Any:
    """A schema whose references point into itself, as those of the document do."""
    if isinstance(schema, dict):
        return {
            name: value.replace("#/$defs/", REFERENCE) if name == "$ref" else _local(value)
            for name, value in schema.items()
        }
    return [_local(each) for each in schema] if isinstance(schema, list) else schema


def _resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = components[schema["$ref"].removeprefix(REFERENCE)] if "$ref" in schema else schema
    return found


def _alternatives(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(schema.get("anyOf", [schema]))
