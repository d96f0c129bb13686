"""Celery tasks as runs: what `.delay()` writes down, how Celery's own tracing executes it, and what `AsyncResult` reads."""
