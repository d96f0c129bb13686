"""The way of a run to a worker: lines and buckets in Redis, the message in Celery, and what heals them."""
