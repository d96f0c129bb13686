"""Holds an answer of the API against its OpenAPI document: every one that a test of the API is given."""

from copy import deepcopy
from typing import Any

from flask import Flask
from jsonschema import Draft202012Validator
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from celeriac.api.reference.openapi import document_of, operations

Contract = dict[tuple[str, str], dict[str, dict[str, Draft202012Validator]]]

_contracts: dict[frozenset[tuple[str, str]], Contract] = {}  # by the routes of an application, which every test makes


def check_answer(app: Flask, answer: TestResponse) -> None:
    """Fails where the status, the content type or the document of an answer is another than is told."""
    try:
        rule, _ = app.url_map.bind_to_environ(answer.request.environ).match(return_rule=True)
    except HTTPException:
        return  # there is no such address
    told = contract(app).get((rule.endpoint, answer.request.method))
    if told is None:
        return  # a page, or a HEAD
    place = f"{answer.request.method} {rule.rule} answered {answer.status_code}"
    assert str(answer.status_code) in told, f"{place}, and tells only {', '.join(told)}: {answer.text[:500]}"
    content = told[str(answer.status_code)]
    if not content:
        assert answer.data == b"", f"{place} with a body, and tells none"
        return
    if "*/*" in content:
        return  # as whoever sends there expects it
    assert answer.mimetype in content, f"{place} with {answer.mimetype}, and tells {', '.join(content)}"
    if answer.is_json or answer.mimetype.endswith("+json"):
        faults = [
            f"{fault.json_path}: {fault.message[:300]}" for fault in content[answer.mimetype].iter_errors(answer.json)
        ]
        assert not faults, f"{place}: {'; '.join(faults)}"


def contract(app: Flask) -> Contract:
    """By view and method, status and content type, what an answer is held against."""
    routes = frozenset((rule.rule, rule.endpoint) for rule in app.url_map.iter_rules())
    if routes not in _contracts:
        document = closed(document_of(app))
        _contracts[routes] = {
            (each.rule.endpoint, each.method): {
                status: _validators(document, answer)
                for status, answer in document["paths"][each.path][each.method.lower()]["responses"].items()
            }
            for each in operations(app)
        }
    return _contracts[routes]


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document without members that are not named: a client has to bear them, our own tests have not. An error may
    have more."""
    document = deepcopy(document)
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema and name not in ("ProblemDocument", "Failure"):
            schema["additionalProperties"] = False
    return document


def _validators(document: dict[str, Any], answer: dict[str, Any]) -> dict[str, Draft202012Validator]:
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return {
        kind: Draft202012Validator({**told["schema"], "components": document["components"]})
        for kind, told in answer.get("content", {}).items()
    }
