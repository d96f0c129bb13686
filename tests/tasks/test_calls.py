"""A task of Celery that is durable is called, and answers, as it always did."""

import pytest


def test_its_result_comes_back(tasks):
    assert 7 == tasks.add.delay(3, 4).get(timeout=20)
    assert 7 == tasks.add.apply_async((3,), {"y": 4}).get(timeout=20)
    assert 7 == tasks.add.s(3).apply_async((), {"y": 4}).get(timeout=20)


def test_what_it_raises_is_raised_where_its_result_is_asked_for(tasks):
    result = tasks.fail.delay("why")
    with pytest.raises(ValueError, match="why") as raised:
        result.get(timeout=20)
    assert ("why", 42) == raised.value.args
    assert "FAILURE" == result.state
    assert "fail" in result.traceback
