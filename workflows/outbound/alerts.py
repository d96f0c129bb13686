"""What people and programs do with alerts: make, change, pause and try them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...state import alerts
from ...state.database import Row
from ...state.ids import new_id, public
from ...state.runs import OUTBOUND
from ..errors import AlertConflict, UnknownAlert, UsageError
from ..run import Run
from ..trigger import Source
from .channels import CHANNELS, checked_address, shown_address
from .cipher import cipher
from .sender import ALERT_EVENTS, DOCUMENTS, SAMPLE
from .signing import callback_secrets
from .subscriptions import NAME, are_words, check_words

if TYPE_CHECKING:
    from ..application import Celeriac

COOL_DOWN_SECONDS = 300.0  # for which an alert says nothing more of one subject
LONGEST_COOL_DOWN_SECONDS = 30 * 86_400.0
TAGS_LIMIT = 100
LISTS = ("events", "workflows", "tags", "environments", "include")


class AlertControl:
    """One alert, by its name: `durable.alert("ops").create("slack", "https://hooks.slack.com/...")`.

    All raise StateUnavailable; all but `create` raise UnknownAlert. `actor` is who did it, for those who look.
    """

    def __init__(self, durable: "Celeriac", name: str):
        if not NAME.fullmatch(name):
            raise UsageError(f"{name[:100]!r} names no alert: give 1 to 100 letters, digits, '.', '_' and '-'")
        self._durable, self.name = durable, name

    def __repr__(self) -> str:
        return f"<alert {self.name}>"

    @property
    def row(self) -> Row:
        """The alert as it is."""
        return self._known(alerts.get(self._durable.database, self.name))

    def create(
        self,
        channel: str,
        address: str,
        events: Sequence[str] = ALERT_EVENTS,
        *,
        workflows: Sequence[str] = (),
        tags: Sequence[str] = (),
        environments: Sequence[str] = (),
        include: Sequence[str] = (),
        cool_down: float = COOL_DOWN_SECONDS,
        actor: str | None = None,
    ) -> Row:
        """Makes it: from now on it tells of these events.

        - channel, address: "webhook" and a URL, which gets a POST that is signed as callbacks of runs are; "slack" and
          the URL of an incoming webhook; "email" and addresses with commas between, by the setting smtp_url.
        - workflows, tags: of runs of these workflows, with one of these tags; default of all.
        - environments: only where the setting environment, of beat in the end, is one of these; default everywhere.
        - include: documents of a run that are told: "payload", "output", "metadata". Default none.
        - cool_down: seconds for which it says nothing more of the same event of a workflow, of new errors in it, or of
          a group that came back. What is held back is counted, and told when they are over. Default 300.

        Raises AlertConflict where there is one of this name; AddressRefused, UsageError before anything is stored.
        """
        given: dict[str, Any] = {
            "channel": channel, "address": address, "events": events, "workflows": workflows, "tags": tags,
            "environments": environments, "include": include, "cool_down": cool_down,
        }  # fmt: skip
        self.check(**given)
        row = alerts.create(self._durable.database, self.name, self._stored(given), actor)
        if row is None:
            raise AlertConflict(
                f"alert {self.name!r} is there already: change it, or choose another name. Nothing was changed."
            )
        return row

    def update(self, **given: Any) -> Row:
        """Changes what is given of what `create` takes; a channel is changed together with its address. Raises
        AddressRefused, UsageError."""
        if ("channel" in given) > ("address" in given):
            raise UsageError("channel: give the address, too")
        if "address" in given:
            given.setdefault("channel", self.row["channel"])
        self.check(**given)
        return self._known(alerts.change(self._durable.database, self.name, self._stored(given)))

    def pause(self, actor: str | None = None, note: str | None = None) -> Row:
        """It says nothing until it is resumed, and does not make up for it."""
        return self._known(alerts.pause(self._durable.database, self.name, actor, note))

    def resume(self) -> Row:
        return self._known(alerts.resume(self._durable.database, self.name))

    def remove(self) -> Row:
        """It says nothing more; messages that are under way fail with their next attempt."""
        return self._known(alerts.remove(self._durable.database, self.name))

    def test(self, actor: str | None = None) -> Run:
        """Sends a sample, as all that it says: by a run."""
        row = self.row
        message = {
            "id": public("msg", new_id()),
            "type": SAMPLE,
            "timestamp": self._durable.database.now().isoformat().replace("+00:00", "Z"),
            "subscription": None,
            "data": {"alert": self.name, "events": row["events"]},
        }
        line = {"concurrency_key": f"alert {self.name}"}
        return self._durable.start(OUTBOUND, message, line, Source("outbound", None, actor))

    def check(
        self,
        *,
        channel: str | None = None,
        address: str | None = None,
        events: Sequence[str] | None = None,
        workflows: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        environments: Sequence[str] | None = None,
        include: Sequence[str] | None = None,
        cool_down: float | None = None,
    ) -> None:
        """Raises AddressRefused, UsageError for what cannot be; its message begins with the name of the member."""
        if channel is not None and channel not in CHANNELS:
            raise UsageError(f"channel: {str(channel)[:50]!r} is none of {', '.join(CHANNELS)}")
        if channel is not None and address is not None:
            checked_address(self._durable.settings, channel, address)
        if channel == "webhook":
            callback_secrets(self._durable.settings)
        check_words("events", events, ALERT_EVENTS)
        if events is not None and not events:
            raise UsageError(f"events: give at least one of {', '.join(ALERT_EVENTS)}")
        check_words("include", include, DOCUMENTS)
        for member, names in (("workflows", workflows), ("tags", tags), ("environments", environments)):
            if names is not None and not are_words(names):
                raise UsageError(f"{member}: give at most {TAGS_LIMIT} names; none is all of them")
        if cool_down is not None and not 0 <= cool_down <= LONGEST_COOL_DOWN_SECONDS:
            raise UsageError(f"cool_down: give 0 to {LONGEST_COOL_DOWN_SECONDS:.0f} seconds")

    def _stored(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of what is given."""
        columns = {name: given[name] for name in ("channel", *LISTS) if given.get(name) is not None}
        if given.get("cool_down") is not None:
            columns["cool_down_seconds"] = float(given["cool_down"])
        if "environments" in columns:
            columns["is_here"] = not columns["environments"] or (
                self._durable.settings.environment in columns["environments"]
            )
        if given.get("address") is not None:
            columns["address"] = shown_address(given["channel"], given["address"])
            if columns["address"] != given["address"]:
                sealed = cipher(self._durable.settings).encrypt(given["address"].encode())
                columns["ciphertext"] = sealed.decode()
        return columns

    def _known(self, row: Row | None) -> Row:
        if row is None:
            raise UnknownAlert(f"there is no alert named {self.name!r}")
        return row
