"""`/metrics`: what beat did, for Prometheus. It needs the API key, as all but health checks and webhooks do."""

from collections.abc import Iterator

from flask import Blueprint, Response

from ..state import services
from ..state.database import Row
from .current import database
from .documents import value

blueprint = Blueprint("metrics", __name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@blueprint.get("/metrics")
def metrics() -> Response:
    rows = services.every(database())
    return Response("\n".join([*_lines(rows), ""]), content_type=CONTENT_TYPE)


def _lines(rows: list[Row]) -> Iterator[str]:
    yield "# HELP celeriac_beat_passes_total Passes of a service of beat since that beat started."
    yield "# TYPE celeriac_beat_passes_total counter"
    for row in rows:
        yield f"celeriac_beat_passes_total{{{_labels(row)}}} {row['passes']}"
    yield "# HELP celeriac_beat_done_total What the service did since that beat started, by what it counts."
    yield "# TYPE celeriac_beat_done_total counter"
    for row in rows:
        for count, total in value(row["totals"]).items():
            yield f'celeriac_beat_done_total{{{_labels(row)},count="{count}"}} {total}'
    yield "# HELP celeriac_beat_done_last What the last pass that did something did."
    yield "# TYPE celeriac_beat_done_last gauge"
    for row in rows:
        for count, last in value(row["counts"]).items():
            yield f'celeriac_beat_done_last{{{_labels(row)},count="{count}"}} {last}'
    yield "# HELP celeriac_beat_passed_timestamp_seconds When the last pass of the service ended."
    yield "# TYPE celeriac_beat_passed_timestamp_seconds gauge"
    for row in rows:
        if row["passed_at"] is not None:
            yield f"celeriac_beat_passed_timestamp_seconds{{{_labels(row)}}} {row['passed_at'].timestamp():.3f}"
    yield "# HELP celeriac_beat_in_trouble Whether the last pass of the service failed."
    yield "# TYPE celeriac_beat_in_trouble gauge"
    for row in rows:
        yield f"celeriac_beat_in_trouble{{{_labels(row)}}} {int(row['trouble'] is not None)}"


def _labels(row: Row) -> str:
    beat = row["beat_name"].replace("\\", "").replace('"', "")
    return f'beat="{beat}",service="{row["name"]}"'
