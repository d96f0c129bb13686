"""Celeriac: durable workflows for teams that already run Celery."""
