"""Django's settings: the database is that of Celeriac, so that a trigger can be part of a transaction."""

import os
from urllib.parse import urlsplit

url = urlsplit(os.environ["CELERIAC_DATABASE_URL"])

SECRET_KEY = os.environ.get("SECRET_KEY", "for development alone")
ALLOWED_HOSTS = ["localhost", "testserver"]
ROOT_URLCONF = "django_shop.urls"
INSTALLED_APPS = ["django_shop"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path.removeprefix("/"),
        "USER": url.username,
        "PASSWORD": url.password,
        "HOST": url.hostname,
        "PORT": url.port,
    }
}
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "redis://localhost")
