"""What is deleted is archived first, where somebody asked for it: as JSON lines in a folder, or by the shop's own code.

At least once: a beat that dies between the archive and the deletion archives the same again.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..workflows import Celeriac
from ..workflows.application import Archive


class Folder:
    """`<folder>/runs-2026-11-26.jsonl`, a document a line, on the disk before it returns."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __call__(self, kind: str, documents: Sequence[dict[str, Any]]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._folder / f"{kind}-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        lines = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as opened:
                opened.write(lines)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def archive_of(durable: Celeriac) -> Archive | None:
    """What the app was given, else the folder of the settings, else nothing."""
    if durable.archive is not None:
        return durable.archive
    folder = durable.settings.archive_folder
    return Folder(Path(folder)) if folder else None
