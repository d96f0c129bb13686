"""Many runs in one request: a JSON list, all of them or none; or NDJSON of any length, line by line.

A stream is read, started and answered in chunks, so that it takes the memory of one chunk. A line that cannot be says
so in its answer, and the others start. Sent again after it was cut off it starts nothing twice where its lines have
`options.idempotency_key`.
"""

import json
import select
from collections.abc import Iterable, Iterator
from os import SEEK_END
from tempfile import SpooledTemporaryFile
from typing import Any

from flask import Blueprint, Response, jsonify, request, stream_with_context
from flask.typing import ResponseReturnValue

from ...state import payload
from ...state.runs import NewRun
from ...workflows import registry
from ...workflows.errors import NotSerializable, PayloadInvalid, StateUnavailable
from ...workflows.options import Options
from ...workflows.trigger import start_each
from .. import shapes
from ..access.scopes import TRIGGER, needs
from ..current import durable
from ..exchange.body import invalid, lines, object_with, parsed, read_object
from ..exchange.idempotency import LARGEST_PAYLOADS, answered_once, answers_once, idempotency_key
from ..exchange.problems import Fault, Problem, faults_of, problem_of
from ..exchange.told import Media, told
from . import documents
from .documents import Document
from .options import parsed as parsed_options
from .runs import BODY_SLACK_BYTES, acknowledged, payload_of, source

blueprint = Blueprint("batch", __name__, url_prefix="/api/v1")

LIMIT = 1000  # payloads of one JSON list
CHUNK_LINES = 500  # of a stream: what is started in one statement
CHUNK_BYTES = 4_194_304  # or fewer lines, where they are long
HELD_BYTES = 1_048_576  # of answers that a client does not take yet, in memory
PIECE_BYTES = 8192  # fits where a socket says that it takes something
NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")


@blueprint.post("/workflows/<name>/batch")
@needs(TRIGGER, of="name")
@answers_once
@told(
    {200: Media(NDJSON[0]), 202: shapes.runs.StartedRuns},
    body=(shapes.bodies.BatchBody, Media(NDJSON[0])),
    refuses=(404, 409, 429),
)
def batch(name: str) -> ResponseReturnValue:
    """Starts a run for each payload of a list, all of them or none; or for each line of a stream.

    202: the runs of a list. 200: a line for each line of a stream: `index`, and `id` and `status`, or `error`.
    """
    if request.mimetype in NDJSON:
        return _stream(name)
    return answered_once(lambda: _list(name))


@blueprint.post("/batch")
@needs(TRIGGER)
@answers_once
@told({200: Media(NDJSON[0])}, body=Media(NDJSON[0]), refuses=(400, 413, 415))
def batch_of_all() -> ResponseReturnValue:
    """Starts a run for each line of a stream, which names its workflow.

    200: a line for each: `index`, and `id` and `status`, or `error`.
    """
    if request.mimetype not in NDJSON:
        raise Problem(
            415, f"send NDJSON, with Content-Type: {NDJSON[0]}; a JSON list goes to /workflows/<name>/batch",
            headers={"Accept": NDJSON[0]},
        )  # fmt: skip
    return _stream(None)


def _list(name: str) -> ResponseReturnValue:
    limit_bytes = LARGEST_PAYLOADS * durable().settings.payload_limit_bytes + BODY_SLACK_BYTES
    body = read_object(limit_bytes, shapes.bodies.BatchBody)
    payloads = body.get("payloads", [])
    if not isinstance(payloads, list) or len(payloads) > LIMIT:
        raise invalid("/payloads", f"a list of at most {LIMIT} objects is expected; send more of them as NDJSON")
    payloads = [payload_of(each, f"/payloads/{index}") for index, each in enumerate(payloads)]
    try:
        started = durable().start_many(name, payloads, parsed_options(body.get("options", {})), source())
    except (PayloadInvalid, NotSerializable) as error:
        raise _problem(name, payloads, error) from None
    return jsonify(runs=[acknowledged(run.row) for run in started]), 202


def _stream(workflow: str | None) -> Response:
    if idempotency_key() is not None:
        detail = "a stream has no Idempotency-Key of its own: give its lines options.idempotency_key"
        raise Problem(400, detail, "usage")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem(415, "a stream is read as it is: send it without Content-Encoding")
    answers = as_they_are_taken(_answers(workflow), request.environ.get("gunicorn.socket"))
    return Response(stream_with_context(answers), mimetype=NDJSON[0])


def as_they_are_taken(answers: Iterable[bytes], client: Any) -> Iterator[bytes]:
    """The answers, held back while the socket of the client takes none: most clients read nothing before they have sent
    everything, and would wait for us while we wait for them. What is held back lies in a file beyond some memory."""
    with SpooledTemporaryFile(max_size=HELD_BYTES) as held:
        taken = 0  # bytes of it
        for answer in answers:
            held.seek(0, SEEK_END)
            held.write(answer)
            while taken < held.tell() and _takes(client):
                held.seek(taken)
                yield (piece := held.read(PIECE_BYTES))
                taken += len(piece)
                held.seek(0, SEEK_END)
            if taken == held.tell():
                held.truncate(0)
                taken = 0
        held.seek(taken)
        while piece := held.read(PIECE_BYTES):
            yield piece


def _takes(client: Any) -> bool:
    if client is None:  # a server that does not say
        return True
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    return bool(poll.poll(0))


def _answers(workflow: str | None) -> Iterator[bytes]:
    for chunk in _chunks():
        answers = {index: _prepared(line, workflow) for index, line in chunk}
        _start(answers)
        told = (json.dumps({"index": index} | answer, ensure_ascii=False) for index, answer in answers.items())
        yield "".join(f"{line}\n" for line in told).encode()


def _chunks() -> Iterator[list[tuple[int, bytes | None]]]:
    """Lines with their numbers, from 0. Empty ones are passed over."""
    chunk: list[tuple[int, bytes | None]] = []
    size = 0
    for index, line in enumerate(lines(durable().settings.payload_limit_bytes + BODY_SLACK_BYTES)):
        if line is None or line.strip():
            chunk.append((index, line))
            size += len(line or b"")
        if len(chunk) == CHUNK_LINES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _prepared(line: bytes | None, workflow: str | None) -> Any:
    """The run that a line asks for; or its answer, where there can be none."""
    try:
        return _new_run(line, workflow)
    except Exception as error:  # whatever is wrong with one line, the others start
        return _error(error)


def _new_run(line: bytes | None, workflow: str | None) -> NewRun:
    if line is None:
        raise Problem(413, "this line is larger than a payload may be", "too-large")
    given = object_with(
        parsed(line, "this line"), ("payload", "options") if workflow else ("workflow", "payload", "options")
    )
    name = workflow or given.get("workflow")
    if not isinstance(name, str):
        raise invalid("/workflow", "the name of a workflow is expected")
    options = Options.of(parsed_options(given.get("options", {})))
    return durable().prepare(name, payload_of(given.get("payload", {}), "/payload"), options, source())


def _start(answers: dict[int, Any]) -> None:
    """Puts what became of each run in its place."""
    new = {index: run for index, run in answers.items() if isinstance(run, NewRun)}
    try:
        made = start_each(durable().database, list(new.values()))
    except StateUnavailable as error:
        made = [error] * len(new)
    for (index, run), row in zip(new.items(), made, strict=True):
        if isinstance(row, Exception):
            answers[index] = _error(row)
        else:
            answers[index] = {"id": documents.identity("run", row.id), "status": row.status}
            if row.id != run.id and run.debounce_key is None:  # its idempotency key found another run
                answers[index]["replayed"] = True
    durable().offer([row for row in made if not isinstance(row, Exception)])


def _error(error: Exception) -> Document:
    return {"error": problem_of(error).document()}


def _problem(name: str, payloads: list[dict[str, Any]], first: PayloadInvalid | NotSerializable) -> Problem:
    """The problem that the first fault is, with the faults of all payloads."""
    workflow, limit_bytes = registry.workflows().get(name), durable().settings.payload_limit_bytes
    faults: list[Fault] = []
    for index, each in enumerate(payloads):
        try:
            text = payload.encode(each, f"the payload of workflow {name!r}", limit_bytes)
            if workflow is not None:
                workflow.check(text)
        except (PayloadInvalid, NotSerializable) as error:
            faults += faults_of(error, f"/payloads/{index}")
    problem = problem_of(first)
    problem.errors = faults
    return problem
