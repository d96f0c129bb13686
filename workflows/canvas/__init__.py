"""Celery's canvas as one run, whose nodes are runs of tasks: each a checkpoint, none repeated."""
