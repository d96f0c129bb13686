"""Too much of one, and of all: 429 and 503, at once and with the time to come again."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from celeriac import Celeriac
from celeriac.api.access import limits
from celeriac.api.rest import runs
from celeriac.workflows.errors import UsageError

RUNS = "/api/v1/runs"
CLOSED_PORT = 9
THREADS = 8


def test_a_key_has_its_rate_and_is_told_what_is_left_of_it(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_api_key="key", celeriac_api_rate="3/h")
    answers = [client.get(RUNS, auth=("ada", "key")) for _ in range(4)]
    assert [200, 200, 200, 429] == [each.status_code for each in answers]
    told = [re.fullmatch(r'"default";r=(\d);t=(\d+)', each.headers["RateLimit"]) for each in answers[:3]]
    assert [("2", 1200), ("1", 2400), ("0", 3600)] == [
        (left[1], -(-int(left[2]) // 60) * 60)
        for left in told
        if left  # a minute may pass between them
    ]
    assert {'"default";q=3;w=3600'} == {each.headers["RateLimit-Policy"] for each in answers}
    refused = answers[-1]
    assert "urn:celeriac:problem:rate-limited" == refused.json["type"]
    assert 1100 < int(refused.headers["Retry-After"]) <= 1200
    assert 429 == client.get(RUNS, auth=("grace", "key")).status_code  # it is the same key
    assert 404 == client.post("/callbacks/nothing", json={}).status_code  # without a key it is the address
    assert 200 == client.get("/livez").status_code
    assert 404 == client.post("/hooks/nobody").status_code


def test_an_address_without_a_key_has_its_rate(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_api_rate="2/h")

    def post(address: str) -> int:
        return client.post("/callbacks/nothing", json={}, environ_base={"REMOTE_ADDR": address}).status_code

    assert [404, 404, 429] == [post("203.0.113.7") for _ in range(3)]
    assert 404 == post("203.0.113.8")
    assert [404, 404, 429] == [post(f"2001:db8::{n}") for n in range(3)]  # a host may choose from its whole /64
    assert 404 == post("2001:db8:0:1::1")


def test_without_redis_each_process_counts_its_own(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_redis_url=f"redis://127.0.0.1:{CLOSED_PORT}/0", celeriac_api_rate="2/h")
    answers = [client.get(RUNS) for _ in range(3)]
    assert [200, 200, 429] == [each.status_code for each in answers]
    assert ['"default";r=1;t=1800', '"default";r=0;t=3600'] == [each.headers["RateLimit"] for each in answers[:2]]


def test_a_request_that_was_refused_did_nothing(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(celeriac_api_rate="1/h")
    greet = "/api/v1/workflows/api-tests.greet/trigger"
    assert [202, 429] == [client.post(greet, json={"payload": {"name": "Ada"}}).status_code for _ in range(2)]


def test_there_is_no_rate_by_default(client: FlaskClient) -> None:
    assert "RateLimit" not in client.get(RUNS).headers


def test_what_is_no_rate_is_refused_when_the_server_starts(make_client: Callable[..., FlaskClient]) -> None:
    with pytest.raises(UsageError, match="fast"):
        make_client(celeriac_api_rate="fast")


@pytest.fixture
def busy(make_client: Callable[..., FlaskClient], monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    """A process of eight threads, six of which answer requests that do not end: as many as ordinary ones may take."""
    client = make_client(celeriac_api_threads=THREADS)
    go, came = threading.Event(), threading.Semaphore(0)
    listed = runs.listed

    def stuck(*given: Any) -> Any:
        came.release()
        assert go.wait(30)
        return listed(*given)

    monkeypatch.setattr(runs, "listed", stuck)
    stuck_ones = [threading.Thread(target=lambda: client.application.test_client().get(RUNS)) for _ in range(6)]
    for thread in stuck_ones:
        thread.start()
    for _ in stuck_ones:
        assert came.acquire(timeout=20)
    yield client
    go.set()
    for thread in stuck_ones:
        thread.join()
    assert 200 == client.get("/api/v1/workers").status_code  # they are counted no more


def test_beyond_its_threads_a_process_refuses_at_once_and_keeps_a_reserve(busy: FlaskClient, durable: Celeriac) -> None:
    refused = busy.get("/api/v1/workers")  # while the others are stuck until the end of this test
    assert (503, "1", "urn:celeriac:problem:overloaded") == (
        refused.status_code, refused.headers["Retry-After"], refused.json["type"],
    )  # fmt: skip
    assert 503 == busy.get("/").status_code
    assert [404, 200, 200] == [busy.get(path).status_code for path in ("/hooks/nobody", "/livez", "/readyz")]


@pytest.mark.parametrize(
    ("path", "threads", "most"),
    [
        ("/api/v1/runs", 32, 24),
        ("/hooks/a", 32, 30),
        ("/hooks/a", 8, 7),
        ("/livez", 32, 32),
        ("/", 1, 1),
        ("/hooks/a", 1, 1),
        ("/metrics", 32, 30),
    ],
)
def test_who_may_take_how_many_threads(path: str, threads: int, most: int) -> None:
    assert most == limits.admissible(path, threads)


def test_an_answer_counts_until_its_last_byte_is_sent_and_no_longer() -> None:
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a"])

        def close(self) -> None:
            closed.append(True)

    seen: list[int] = []

    def app(environ: Any, _: Any) -> Any:
        seen.append(environ[limits.IN_FLIGHT])
        if len(seen) == 3:
            raise RuntimeError("broken")
        return Body()

    counted = limits.Counted(app)
    first, second = (counted({}, None) for _ in range(2))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="broken"):
        counted({}, None)  # type: ignore[arg-type]
    for answer in (first, first, second):
        answer.close()  # type: ignore[attr-defined]
    counted({}, None)  # type: ignore[arg-type]
    assert [1, 2, 3, 1] == seen
    assert [True, True, True] == closed
