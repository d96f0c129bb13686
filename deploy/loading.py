"""From `-A shop` to the Celeriac that is bound to its app."""

import os
import sys

from celery import Celery
from celery.app.utils import find_app

from ..workflows import Celeriac, registry
from ..workflows.errors import UsageError


def load(name: str | None) -> Celeriac:
    """The Celeriac of the app that `name` (module, or module:attribute) stands for, its tasks collected.

    Raises UsageError that says what to write.
    """
    name = name or os.environ.get("CELERY_APP")
    if not name:
        raise UsageError("which app? Say `celeriac -A shop ...`, where shop.py has `app = Celery(...)`")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        app = find_app(name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"-A {name}: {error}. It is a module with a Celery app, or module:attribute") from error
    return of_app(app)


def of_app(app: Celery) -> Celeriac:
    """The Celeriac of an app. Raises UsageError if it has none."""
    app.loader.import_default_modules()
    app.finalize()
    return registry.of_app(app)
