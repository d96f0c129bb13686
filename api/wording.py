"""How the page words times, ids and documents. Pure functions; times are aware datetimes, durations seconds."""

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from ..state.steps import Outlook, Share

PRETTY_LIMIT = 65_536  # characters of one document that the page shows; the API has the rest
DASH = "–"
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
WHEN_FULL = {"reject": "refuses when a key is full", "cancel_running": "cancels the oldest when a key is full"}

TONES = {  # statuses that look as another one, at the size of an icon
    "queued": "waiting", "delayed": "waiting", "crashed": "failed", "timed_out": "failed", "cancelled": "stopped",
    "expired": "stopped",
}  # fmt: skip

from_text = json.loads  # what a kept JSON text says


def ago(at: datetime | None, now: datetime) -> str:
    """`4 s ago`, `in 2 h`; a dash where there is none."""
    if at is None:
        return DASH
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {coarse(-seconds)}" if seconds < 0 else f"{coarse(seconds)} ago"


def coarse(seconds: float) -> str:
    """One number and its unit, rounded down: `59 s`, `3 min`, `5 h`, `12 d`."""
    for unit, size in UNITS[:-1]:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def duration(seconds: float | None) -> str:
    """`8 ms`, `1.25 s`, `2 min 5 s`, `3 h 20 min`, `2 d 1 h`; a dash where there is none."""
    if seconds is None:
        return DASH
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for (large, size), (small, part) in pairwise(UNITS):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds, or None where one end is missing."""
    return None if start is None or end is None else (end - start).total_seconds()


def exact(at: datetime | None) -> str:
    """`2026-11-23 03:52:00.123 UTC`"""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def hexdump(body: bytes, lines: int = 256) -> str:
    """Bytes that are no text, sixteen in a line, with what of them can be read."""
    rows = []
    for at in range(0, min(len(body), lines * 16), 16):
        part = body[at : at + 16]
        readable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        rows.append(f"{at:06x}  {part.hex(' '):<47}  {readable}")
    if len(body) > lines * 16:
        rows.append(f"… {len(body) - lines * 16:,} more bytes: download the body to see them all")
    return "\n".join(rows)


def short(id: UUID) -> str:
    """The end of an id, which tells runs of one second apart."""
    return id.hex[-8:]


def pretty(text: str | None) -> str:
    """A kept JSON text with indentation, cut where it is too long to look at."""
    if text is None:
        return ""
    told = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    if len(told) <= PRETTY_LIMIT:
        return told
    return f"{told[:PRETTY_LIMIT]}\n… {len(told) - PRETTY_LIMIT:,} more characters: the API has them all"


def indented(document: Any) -> str:
    """A document with indentation, cut where it is too long to look at."""
    return pretty(json.dumps(document, ensure_ascii=False))


def whole(text: str) -> str:
    """A kept JSON text with indentation, all of it: to be edited."""
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)


def brief(text: str | None, limit: int = 120) -> str:
    """A kept JSON text on one line."""
    if text is None:
        return ""
    told = json.dumps(json.loads(text), ensure_ascii=False)
    return told if len(told) <= limit else told[: limit - 1] + "…"


def progress(metadata: str) -> dict[str, Any] | None:
    """How far a run is, as `metadata.progress(done, total)` published it: with `percent`. None where nothing did."""
    told = json.loads(metadata).get("progress")
    if not isinstance(told, dict):
        return None
    done, total = told.get("done"), told.get("total")
    if not isinstance(done, int | float) or not isinstance(total, int | float) or total <= 0:
        return None
    percent = min(max(100 * done / total, 0), 100)
    return {
        "done": f"{done:,}",
        "total": f"{total:,}",
        "note": str(told.get("note") or ""),
        "percent": f"{percent:.4g}",
    }


def size(text: str | None) -> str:
    """The size of a kept text: `86 B`, `12.4 KB`."""
    return byte_count(len((text or "").encode()))


def tone(status: str) -> str:
    """The icon that a tab has for a run of this status: running, waiting, completed, failed, or stopped."""
    return TONES.get(status, status)


def byte_count(count: int | None) -> str:
    """The same of a number of bytes; a dash where there is none."""
    if count is None:
        return DASH
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} KB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def outlook(outlook: Outlook) -> str:
    """What a run that goes on from a step keeps, and what it executes again."""
    if not outlook.kept.steps and not outlook.again.steps:
        return "No step is kept: it begins anew."
    return f"Kept: {_share(outlook.kept)}. Runs again: {_share(outlook.again, 'what comes after it')}."


def memory(count: int | None) -> str:
    """`86 B`, `12.4 KB`, `277 MB`; a dash where there is none."""
    if count is None:
        return DASH
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def limits(document: Mapping[str, Any]) -> str:
    """The limits of a queue: `10 at once, 2 per key, 100/m (20 at once)`; `no limit` where there is none."""
    told = [
        _counted("{:,} at once", document.get("concurrency")),
        _counted("{:,} per key", document.get("per_key")),
        _rate(document.get("rate"), document.get("burst")),
        _rate(document.get("key_rate"), document.get("key_burst"), " per key"),
        _counted("{:,} may wait", document.get("max_queued")),
        ", ".join(f"{key} ×{weight:g}" for key, weight in (document.get("weights") or {}).items()),
        WHEN_FULL.get(document.get("when_full", ""), ""),
    ]
    return ", ".join(filter(None, told)) or "no limit"


def overridden(queue: Mapping[str, Any]) -> str:
    """What the code says of the limits that were overridden."""
    return limits({name: queue["declared"].get(name) for name in queue["overrides"]})


def standing(queue: Mapping[str, Any]) -> str:
    """Whether a queue takes runs and starts them: `paused by ada: the CRM is down, draining by bob`, or `open`."""
    told = []
    if queue["is_paused"]:
        note = f": {queue['pause_note']}" if queue["pause_note"] else ""
        told.append(f"paused{_by(queue['paused_by'])}{note}")
    if queue["is_draining"]:
        told.append(f"draining{_by(queue['draining_by'])}")
    return ", ".join(told) or "open"


def local(at: datetime) -> str:
    """A moment by the clock of its own time zone: `Mon 2026-03-30 08:00:00 CEST`."""
    return at.strftime("%a %Y-%m-%d %H:%M:%S %Z")


def schedule(kind: str, expression: str) -> str:
    """When a schedule is due: its cron fields, or `every 5 min`."""
    return expression if kind == "cron" else f"every {duration(float(expression))}"


def policies(document: Mapping[str, Any]) -> str:
    """What a schedule says besides its times, where that is not the default."""
    told = [
        "" if document["catch_up"] == "one" else f"catches up {document['catch_up']}",
        "" if document["overlap"] == "allow" else f"overlap {document['overlap'].replace('_', ' ')}",
        f"jitter {duration(document['jitter'])}" if document["jitter"] else "",
        f"from {document['start']}" if document["start"] else "",
        f"until {document['end']}" if document["end"] else "",
    ]
    return ", ".join(filter(None, told))


def paused(document: Mapping[str, Any]) -> str:
    """Whether a schedule fires: `paused by ada: on holiday`, or `on`."""
    if not document["is_paused"]:
        return "on" if document["next_fire_at"] else "over"
    note = f": {document['pause_note']}" if document["pause_note"] else ""
    return f"paused{_by(document['paused_by'])}{note}"


def counted(counts: Mapping[str, int]) -> str:
    """Counts of a service: `ticks 3, skipped 1`; a dash where there are none."""
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count) or DASH


def curl(url: str, workflow_path: str, payload: Any, has_key: bool) -> str:
    """The command that starts a run with this payload."""
    parts = [f"curl -X POST {shlex.quote(f'{url}/api/v1/workflows/{workflow_path}/trigger')}"]
    if has_key:
        parts.append('-H "Authorization: Bearer $CELERIAC_API_KEY"')
    parts.append("-H 'Content-Type: application/json'")
    parts.append(f"-d {shlex.quote(json.dumps({'payload': payload}, ensure_ascii=False))}")
    return " \\\n  ".join(parts)


def _share(share: Share, more: str = "") -> str:
    if not share.steps:
        return more or "nothing"
    rest = share.steps - len(share.keys)
    told = ", ".join(share.keys) + (f" and {rest:,} more" if rest else "")
    return f"{told}, and {more}" if more else told


def _counted(words: str, count: int | None) -> str:
    return "" if count is None else words.format(count)


def _rate(rate: str | None, burst: int | None, of: str = "") -> str:
    if rate is None:
        return ""
    return f"{rate}{of}" + ("" if burst is None else f" ({burst:,} at once)")


def _by(actor: str | None) -> str:
    return f" by {actor}" if actor else ""
