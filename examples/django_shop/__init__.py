"""A Django app whose orders are fulfilled by durable runs.

    export DJANGO_SETTINGS_MODULE=django_shop.settings
    celeriac -A django_shop.celery dev      # prints the URL of its Postgres; with one of your own it uses that
    django-admin migrate --run-syncdb && django-admin runserver
    curl -X POST localhost:8000/orders/ -d customer=ada

The order and its run are one transaction (`views.py`). Steps use the ORM as any task does (`workflows.py`).
"""
