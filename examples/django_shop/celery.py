"""The Celery app, as Celery's own pages say for Django, and one line more."""

import os

from celery import Celery

from celeriac import Celeriac

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_shop.settings")

app = Celery("django_shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(related_name="workflows")
durable = Celeriac(app)
