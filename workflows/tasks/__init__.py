"""Celery tasks as runs: what `.delay()` writes, how Celery's own tracing executes it, what `AsyncResult` reads."""
