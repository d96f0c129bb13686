"""The Celery app of this ring: a module of workflows for each chapter, executed by real worker processes.

Some chapters need workers of their own, which have `CHAPTER` in their environment, and listen to a Celery queue of that
name.
"""

import os
from pathlib import Path

from celery import Celery

from celeriac import Celeriac

OF_THEIR_OWN = ("deploys", "crashes")
SHARED = [
    file.stem for file in sorted(Path(__file__).with_name("chapters").glob("*.py")) if file.stem not in OF_THEIR_OWN
]

chapters = [os.environ["CHAPTER"]] if "CHAPTER" in os.environ else SHARED
app = Celery("semantics_shop", include=[f"chapters.{name}" for name in chapters])
app.conf.task_routes = {f"{name}.*": {"queue": name} for name in OF_THEIR_OWN}
durable = Celeriac(app)

if "MOMENTS" in os.environ:
    import killer

    killer.install()
