"""The Celery app whose workers execute random programs, see `tests/programs.py`."""

import sys
from pathlib import Path

from celery import Celery

from celeriac import Celeriac

sys.path.append(str(Path(__file__).parents[1]))

app = Celery("programs_shop", include=["programs"])
durable = Celeriac(app)
