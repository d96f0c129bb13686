"""Where a token is completed by who knows its address, without an API key: the address is the secret.

It tells nothing that its caller does not know, takes a POST only (a mail program that opens links completes nothing),
and needs no protection from other sites' pages: no browser has a session here that such a page could use.
"""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from ...workflows.errors import UsageError
from ...workflows.waits import finish_token
from .. import shapes
from ..access.scopes import PUBLIC, needs
from ..current import durable
from ..exchange.body import read_value, refuse_what_postgres_refuses
from ..exchange.problems import Problem
from ..exchange.told import told

blueprint = Blueprint("callbacks", __name__, url_prefix="/callbacks")


@blueprint.post("/<token_id>")
@needs(PUBLIC)
@told({200: shapes.runs.CompletedCallback}, body=shapes.scalars.Json, refuses=(409, 429))
def complete(token_id: str) -> ResponseReturnValue:
    """Completes a token with the body, any JSON value; an empty one is null."""
    result = read_value(durable().settings.payload_limit_bytes)
    refuse_what_postgres_refuses(result, "")
    try:
        _, is_first = finish_token(durable(), token_id, result, None)
    except UsageError:
        raise Problem(404, "there is nothing at this address", "unknown-token") from None
    if not is_first:
        raise Problem(409, "this was completed before, or its time is over", "wrong-status")
    return jsonify(status="completed")
