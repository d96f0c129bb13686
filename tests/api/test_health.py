"""Health, as an orchestrator asks for it."""

from collections.abc import Callable

import psycopg2
from flask.testing import FlaskClient

CLOSED_PORT = 9


def test_with_everything_up_it_is_ready(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json() == {
        "status": "ready",
        "checks": {"postgres": "ok", "schema": "ok", "redis": "ok"},
        "degraded": [],
    }


def test_without_redis_it_is_ready_and_says_so(make_client: Callable[..., FlaskClient]) -> None:
    answer = make_client(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0").get("/readyz")
    assert answer.status_code == 200
    assert (answer.get_json()["status"], answer.get_json()["degraded"]) == ("degraded", ["redis"])


def test_without_postgres_it_lives_and_is_not_ready(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_database_url=f"postgresql://127.0.0.1:{CLOSED_PORT}/celeriac")
    assert client.get("/livez").status_code == 200
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["checks"]["postgres"] == "unreachable"


def test_before_the_migration_it_is_not_ready(client: FlaskClient, database_url: str) -> None:
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    connection.cursor().execute("drop schema celeriac cascade")
    connection.close()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["checks"]["schema"] == "migration pending"
    assert client.get("/api/v1/runs").status_code == 503
