"""Settings come from the environment or from app.conf; what is no setting is refused."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from celery import Celery

from celeriac import Celeriac
from celeriac.workflows.errors import UsageError
from celeriac.workflows.settings import Settings


def test_without_anything_set_the_defaults_hold() -> None:
    assert Settings() == Settings.load({}, {})


def test_app_conf_and_the_environment_are_read_by_their_own_spellings() -> None:
    loaded = Settings.load({"celeriac_max_crashes": 7, "broker_url": "x"}, {"CELERIAC_HEARTBEAT_SECONDS": "2.5"})
    assert Settings(max_crashes=7, heartbeat_seconds=2.5) == loaded


def test_the_upper_case_that_django_projects_write_is_understood() -> None:
    assert 7 == Settings.load({"CELERIAC_MAX_CRASHES": 7}, {}).max_crashes


def test_the_environment_wins() -> None:
    assert 3 == Settings.load({"celeriac_max_crashes": 7}, {"CELERIAC_MAX_CRASHES": "3"}).max_crashes


def test_what_others_keep_in_the_environment_is_none_of_our_business() -> None:
    assert Settings() == Settings.load({"broker_url": "x"}, {"CELERY_BROKER_URL": "x", "celeriac_max_crashes": "9"})


@pytest.mark.parametrize(
    ("conf", "environ"),
    [({"celeriac_heartbeet_seconds": 5}, {}), ({}, {"CELERIAC_HEARTBEET_SECONDS": "5"})],
    ids=["app.conf", "environment"],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(conf: dict[str, Any], environ: dict[str, str]) -> None:
    with pytest.raises(
        UsageError, match="celeriac_heartbeet_seconds is no setting: did you mean celeriac_heartbeat_se"
    ):
        Settings.load(conf, environ)


def test_a_name_that_is_near_to_none_is_refused_with_all_of_them() -> None:
    with pytest.raises(
        UsageError, match=r"celeriac_zzz is no setting\. Known: celeriac_database_url, celeriac_redis_url"
    ):
        Settings.load({"celeriac_zzz": 1}, {})


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("max_crashes", "many", "int"),
        ("max_crashes", "2.5", "int"),
        ("max_crashes", None, "int"),
        ("heartbeat_seconds", "soon", "float"),
        ("heartbeat_seconds", "", "float"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(name: str, value: Any, kind: str) -> None:
    with pytest.raises(UsageError, match=rf"celeriac_{name}={value!r} should be {kind}"):
        Settings.load({f"celeriac_{name}": value}, {})


def test_a_url_that_is_none_is_not_set() -> None:
    settings = Settings.load({"celeriac_database_url": None}, {})  # as os.environ.get(...) leaves it
    assert "" == settings.database_url


def test_a_setting_that_is_needed_says_both_ways_to_set_it() -> None:
    with pytest.raises(
        UsageError, match=r"Set CELERIAC_DATABASE_URL in the environment or app\.conf\.celeriac_databas"
    ):
        Settings().need("database_url")
    assert "postgresql://x" == Settings(database_url="postgresql://x").need("database_url")


def test_every_setting_that_is_a_quantity_names_its_unit() -> None:
    units = ("_seconds", "_hours", "_days", "_bytes", "_characters", "_factor", "_crashes")
    units += (
        "_threads",
        "_hops",
        "stream_limit",
        "stream_limit_per_client",
    )  # these count threads, proxies, streams
    quantities = [field.name for field in fields(Settings) if field.type in (int, float)]
    assert [] == [name for name in quantities if not name.endswith(units)]


@pytest.mark.parametrize(("said", "meant"), [("true", True), ("1", True), (True, True), ("No", False), ("off", False)])
def test_a_setting_that_is_yes_or_no_takes_the_usual_words(said: object, meant: bool) -> None:
    assert meant is Settings.load({"celeriac_log_stdout": said}, {}).log_stdout


def test_a_word_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(UsageError, match="celeriac_log_stdout='perhaps' should be bool"):
        Settings.load({"celeriac_log_stdout": "perhaps"}, {})


def test_a_misspelt_setting_of_an_app_is_refused_when_settings_are_first_needed(
    make_durable: Callable[..., Celeriac],
) -> None:
    durable = make_durable(celeriac_max_crahses=3)
    with pytest.raises(UsageError, match="did you mean celeriac_max_crashes"):
        _ = durable.settings


def test_redis_is_the_broker_where_that_is_redis_and_else_it_has_to_be_named() -> None:
    durable = Celeriac(Celery("shop", broker="redis://127.0.0.1:9/3"))
    assert "redis://127.0.0.1:9/3" == durable._redis_url()
    durable.close()
    durable = Celeriac(Celery("shop", broker="amqp://127.0.0.1:9"))
    with pytest.raises(UsageError, match="CELERIAC_REDIS_URL"):
        durable._redis_url()
    durable.close()
