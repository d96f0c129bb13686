"""What is seen: triggers, webhooks, REST and the monitoring page, over Flask. Its law is in its README."""

from .app import create_app

__all__ = ["create_app"]
