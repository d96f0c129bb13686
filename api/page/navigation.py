"""The pages there are, in the order in which the navigation shows them, and the key that leads to each (after `g`)."""

from dataclasses import dataclass
from itertools import groupby

from flask import current_app, request, url_for

from ..access.guard import may


@dataclass(frozen=True, slots=True)
class Place:
    """One page of the navigation. `group` is where a line parts it from its neighbours; `icon` one of icons.html."""

    group: int
    title: str
    endpoint: str
    key: str
    icon: str
    beside: tuple[str, ...] = ()  # blueprints whose pages belong to it, besides that of its endpoint

    @property
    def href(self) -> str:
        return url_for(self.endpoint)

    @property
    def is_current(self) -> bool:
        """Whether the page that is shown is this one, or below it."""
        return request.endpoint == self.endpoint or (request.blueprint or "") in self.beside


PLACES = (
    Place(0, "Overview", "page.home", "o", "gauge"),
    Place(0, "Runs", "runs_page.index", "r", "runs", ("runs_page", "run_page", "diff_page")),
    Place(0, "Workflows", "workflow_page.index", "f", "workflow", ("workflow_page",)),
    Place(0, "Queues", "queue_page.index", "q", "queue", ("queue_page",)),
    Place(0, "Schedules", "schedule_page.index", "s", "clock", ("schedule_page",)),
    Place(1, "Webhooks", "webhook_page.index", "w", "hook", ("webhook_page", "subscription_page")),
    Place(1, "Events", "event_page.index", "e", "event", ("event_page",)),
    Place(1, "Errors", "error_page.index", "x", "failed", ("error_page", "alert_page")),
    Place(1, "Logs", "log_page.index", "l", "lines", ("log_page",)),
    Place(2, "Workers", "worker_page.index", "k", "worker", ("worker_page",)),
    Place(2, "Bulk actions", "bulk_page.index", "b", "stack", ("bulk_page",)),
    Place(2, "API", "reference_page.show", "a", "braces", ("reference_page",)),
    Place(2, "Settings", "settings_page.index", "t", "settings", ("settings_page",)),
)


def navigation() -> list[list[Place]]:
    """The places of this application that the one who looks may see, group by group."""
    scopes = {name: getattr(view, "scope", None) for name, view in current_app.view_functions.items()}
    served = [place for place in PLACES if (scope := scopes.get(place.endpoint)) and may(scope)]
    return [list(places) for _, places in groupby(served, key=lambda place: place.group)]
