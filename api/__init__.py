"""What is seen: triggers, webhooks, REST and the monitoring page, over Flask. Its law is in its README.

What it shows is looked up when it is first asked for, so that `celeriac.api.client` does not load Flask.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .app import create_app
    from .blueprint import create_blueprint

__all__ = ["create_app", "create_blueprint"]

if __name__ != "celeriac.api":
    raise ImportError("import celeriac.api, not api: its modules know each other by their places in celeriac")

if not TYPE_CHECKING:  # a type checker would take every name that is asked for as one that there is

    def __getattr__(name: str) -> object:
        if name == "create_app":
            from .app import create_app

            return create_app
        if name == "create_blueprint":
            from .blueprint import create_blueprint

            return create_blueprint
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
