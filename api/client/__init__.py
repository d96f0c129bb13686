"""The Python client of the API, for programs that are not the Celery app: see `client`."""

from .client import ApiError, Client, Retries, Run, RunFailed, Unreachable

__all__ = ["ApiError", "Client", "Retries", "Run", "RunFailed", "Unreachable"]
