"""`/metrics`: how it goes, in the text format of Prometheus. What each name means is told in docs/metrics.md.

All of it is read when it is asked for, from Postgres and Redis, so it does not matter which process answers. Nothing is
kept in memory between two scrapes.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import product
from typing import Any

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ...state import alerts, endpoints, logs, measures, outbound, queues, services, status, traces
from ...state.database import Row
from ...workflows import Celeriac
from ...workflows.dispatch.buckets import RedisUnavailable
from ...workflows.queue import Limits
from ..access.scopes import needs
from ..current import durable
from ..exchange.told import Media
from ..exchange.told import told as tells
from .documents import value

CALLBACKS = "(callbacks)"  # as a subscription: all callback_urls of runs together
Samples = Sequence[tuple[tuple[Any, ...], float]]  # values of the labels, and the value

blueprint = Blueprint("metrics", __name__)

# Kept by beat: the name of the measure, the metric without `_total`, its labels (workflow and detail), what it counts.
COUNTERS = (
    ("runs_finished", "celeriac_runs_finished", ("workflow", "status"), "Runs that have ended."),
    ("run_retries", "celeriac_run_retries", ("workflow",), "Attempts of ended runs beyond the first."),
    (
        "step_retries",
        "celeriac_step_retries",
        ("workflow", "step"),
        "Attempts of steps of ended runs beyond the first.",
    ),
    ("outbound", "celeriac_outbound", ("subscription", "status"), "Webhooks that were sent, by how that ended."),
    ("deliveries", "celeriac_deliveries", ("endpoint", "status"), "Webhook deliveries, by what became of them."),
    (
        "log_lines_dropped",
        "celeriac_log_lines_dropped",
        ("workflow", "reason"),
        "Lines that are missing in logs of runs.",
    ),
)
HISTOGRAMS = (
    (
        "run_duration",
        "celeriac_run_duration_seconds",
        ("workflow", "status"),
        "From the first start of a run to its end.",
    ),
    (
        "run_start_lag",
        "celeriac_run_start_lag_seconds",
        ("workflow",),
        "From the time a run was ready to its first start.",
    ),
    (
        "step_duration",
        "celeriac_step_duration_seconds",
        ("workflow", "step"),
        "From the begin of a step to its result.",
    ),
)


@blueprint.get("/metrics")
@needs("metrics:read")
@tells({200: Media("text/plain")}, refuses=(503,))
def show() -> Response:
    """Tells how it goes, in the text format of Prometheus.

    200: all that is known; what only Redis knows is left out where it is away. 503: Postgres is away.
    """
    registry = CollectorRegistry()
    registry.register(Scrape(durable()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class Scrape(Collector):
    """One look at everything."""

    def __init__(self, durable: Celeriac):
        self._durable, self._database = durable, durable.database

    def describe(self) -> Iterable[Metric]:
        """Nothing: names that are known before would cost a look of their own."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield gauge("celeriac_build_info", "The version that answers.", ("version",), [((version("celeriac"),), 1)])
        live = measures.live(self._database)
        yield from self._ended({row["workflow"] for row in live})
        yield self._live(live)
        yield from self._queues()
        yield from self._workers()
        yield from self._inbox()
        yield from self._outbound()
        yield from self._traces()
        yield from self._services()

    def _ended(self, workflows: Collection[str]) -> Iterator[Metric]:
        kept: dict[str, list[Row]] = {}
        begun = self._begun(workflows)
        for row in measures.every(self._database):
            kept.setdefault(row["name"], []).append(row)
        for name, metric, labels, told in COUNTERS:
            family = CounterMetricFamily(metric, told, labels=labels)
            counts = dict.fromkeys(begun.get(name, ()), 0)
            counts |= {(row["workflow"], row["detail"]): row["count"] for row in kept.get(name, ())}
            for values, count in counts.items():
                family.add_metric(values[: len(labels)], count)
            yield family
        for name, metric, labels, told in HISTOGRAMS:
            yield histogram(metric, told, labels, kept.get(name, ()))
        lag = measures.lag_seconds(self._database)
        yield gauge("celeriac_measures_lag_seconds", "How far what beat counts is behind.", (), [((), lag)])

    def _begun(self, workflows: Collection[str]) -> dict[str, Iterable[tuple[str, str]]]:
        """What may be counted one day, and stands at 0 until then. Prometheus sees no increase where a series begins
        with 1: an alert rule would miss the first crash of a workflow."""
        hooks = [row["name"] for row in endpoints.every(self._database)]
        subscriptions = [row["name"] for row in outbound.every(self._database)]
        return {
            "runs_finished": product(workflows, status.FINAL),
            "log_lines_dropped": product(workflows, logs.DROPPED),
            "deliveries": product(hooks, ("routed", "ignored", "parked", "discarded")),
            "outbound": product([*subscriptions, CALLBACKS], (status.COMPLETED, status.FAILED)),
        }

    def _live(self, rows: Sequence[Row]) -> Metric:
        samples = [((row["workflow"], row["status"]), row["runs"]) for row in rows]
        return gauge("celeriac_runs", "Runs that have not ended.", ("workflow", "status"), samples)

    def _queues(self) -> Iterator[Metric]:
        rows = measures.depths(self._database)
        depth = [((row["queue"],), row["depth"]) for row in rows]
        oldest = [((row["queue"],), row["oldest_seconds"] or 0.0) for row in rows]
        paused = [((row["queue"],), int(row["is_paused"])) for row in rows]
        yield gauge("celeriac_queue_depth", "Runs that wait for a slot.", ("queue",), depth)
        yield gauge("celeriac_queue_oldest_seconds", "For how long the oldest of them waits.", ("queue",), oldest)
        yield gauge("celeriac_queue_paused", "1: an operator paused the queue.", ("queue",), paused)
        yield from self._buckets()

    def _buckets(self) -> Iterator[Metric]:
        held: list[tuple[tuple[str], int]] = []
        limits: list[tuple[tuple[str], int]] = []
        try:
            rows = queues.every(self._database, self._durable.settings.deaf_seconds)
            holdings = self._durable.buckets.holdings([row.name for row in rows])
            for row in rows:
                known = holdings[row.name]
                if known is not None:
                    concurrency = Limits.of(row.limits).concurrency
                    held.append(((row.name,), len(known.slots)))
                    limits.append(((row.name,), min(known.window, concurrency or known.window)))
            is_up = 1
        except RedisUnavailable:
            held, limits, is_up = [], [], 0
        yield gauge("celeriac_redis_up", "1: Redis answers.", (), [((), is_up)])
        yield gauge("celeriac_queue_slots_held", "Slots of its bucket that runs of a queue hold.", ("queue",), held)
        yield gauge(
            "celeriac_queue_slots", "Slots that it has at most, by its limit and the live workers.", ("queue",), limits
        )

    def _workers(self) -> Iterator[Metric]:
        rows = measures.workers(self._database)
        told = {
            "slots": ("celeriac_worker_slots", "Runs that a worker executes at most; 0: it shuts down."),
            "busy": ("celeriac_worker_busy", "Runs that it executes."),
            "heartbeat_seconds": ("celeriac_worker_heartbeat_age_seconds", "Since its last sign of life."),
            "consumed_seconds": ("celeriac_worker_progress_age_seconds", "Since its consumer last made progress."),
        }
        for column, (name, words) in told.items():
            yield gauge(name, words, ("worker",), [((row["name"],), row[column]) for row in rows])

    def _inbox(self) -> Iterator[Metric]:
        pending = measures.pending_deliveries(self._database)
        yield gauge("celeriac_deliveries_pending", "Deliveries to be routed yet.", (), [((), pending["pending"])])
        oldest = [((), pending["oldest_seconds"])]
        yield gauge("celeriac_deliveries_pending_oldest_seconds", "For how long the oldest of them waits.", (), oldest)
        lag = measures.schedule_lag_seconds(self._database)
        yield gauge("celeriac_schedule_lag_seconds", "How late the latest due schedule is.", (), [((), lag)])

    def _outbound(self) -> Iterator[Metric]:
        rows = [(row["name"] or CALLBACKS, row) for row in outbound.pending(self._database)]
        pending = [((name,), row["runs"]) for name, row in rows]
        oldest = [((name,), row["oldest_seconds"]) for name, row in rows]
        label = ("subscription",)
        yield gauge("celeriac_outbound_pending", "Webhooks that are to be sent yet.", label, pending)
        yield gauge("celeriac_outbound_pending_oldest_seconds", "For how long the oldest of them waits.", label, oldest)
        every = outbound.every(self._database)
        disabled = [((row["name"],), int(row["disabled_at"] is not None)) for row in every]
        held = [((name,), row["held"]) for name, row in alerts.held(self._database).items()]
        yield gauge("celeriac_alerts_held", "What an alert holds back in its cool-down.", ("alert",), held)
        yield gauge("celeriac_outbound_disabled", "1: its receiver wants nothing any more.", label, disabled)

    def _traces(self) -> Iterator[Metric]:
        waiting = traces.pending(self._database)
        told = "Ends of executions, runs and deliveries whose spans wait for the collector."
        yield gauge("celeriac_exports_pending", told, (), [((), waiting["ends"])])
        oldest = [((), waiting["oldest_seconds"])]
        yield gauge("celeriac_exports_pending_oldest_seconds", "For how long the oldest of them waits.", (), oldest)

    def _services(self) -> Iterator[Metric]:
        rows = services.every(self._database)
        passes = CounterMetricFamily("celeriac_beat_passes", "Passes of a service of beat.", labels=("beat", "service"))
        done = CounterMetricFamily("celeriac_beat_done", "What it did.", labels=("beat", "service", "count"))
        last = GaugeMetricFamily(
            "celeriac_beat_done_last", "What its last pass that did something did.", labels=("beat", "service", "count")
        )
        for row in rows:
            passes.add_metric((row["beat_name"], row["name"]), row["passes"])
            for family, counts in ((done, row["totals"]), (last, row["counts"])):
                for name, count in value(counts).items():
                    family.add_metric((row["beat_name"], row["name"], name), count)
        yield from (passes, done, last)
        ended = [((row["beat_name"], row["name"]), row["passed_at"].timestamp()) for row in rows if row["passed_at"]]
        yield gauge("celeriac_beat_passed_timestamp_seconds", "When its last pass ended.", ("beat", "service"), ended)
        trouble = [((row["beat_name"], row["name"]), int(row["trouble"] is not None)) for row in rows]
        yield gauge("celeriac_beat_in_trouble", "1: its last pass failed.", ("beat", "service"), trouble)


def gauge(name: str, told: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, told, labels=labels)
    for labelled, number in samples:
        family.add_metric(labelled, number)
    return family


def histogram(name: str, told: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    """Rows of one measure, each a bucket by itself, as Prometheus has them: each with all those below it."""
    series: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        series.setdefault((row["workflow"], row["detail"])[: len(labels)], []).append(row)
    family = HistogramMetricFamily(name, told, labels=labels)
    for values, own in series.items():
        below = [(str(each), sum(row["count"] for row in own if row["bound"] <= each)) for each in measures.BOUNDS]
        family.add_metric(values, [*below, ("+Inf", sum(row["count"] for row in own))], sum(row["sum"] for row in own))
    return family
