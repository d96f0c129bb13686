"""When something is tried again: a pure function of the attempt and the error."""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from celeriac import Abort, Retry, RetryAfter
from celeriac.workflows.errors import NotSerializable, PayloadInvalid, UsageError
from celeriac.workflows.retry import ONCE

POLICIES = st.builds(
    lambda factor, min_delay, more: {"factor": factor, "min_delay": min_delay, "max_delay": min_delay + more},
    st.floats(1, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1e9),
)


def formula(attempt: int, factor: float, min_delay: float, max_delay: float) -> float:
    try:
        return min(max_delay, min_delay * factor ** (attempt - 1))
    except OverflowError:
        return max_delay if min_delay else 0.0


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (10_000, 60)])
def test_the_delay_doubles_up_to_a_minute_by_default(attempt: int, seconds: float) -> None:
    assert seconds == Retry(jitter=False).delay_seconds(attempt)


@given(POLICIES, st.integers(1, 10_000))
def test_without_jitter_the_delay_is_the_formula(policy: dict[str, float], attempt: int) -> None:
    assert formula(attempt, **policy) == pytest.approx(Retry(jitter=False, **policy).delay_seconds(attempt))


@given(POLICIES, st.integers(1, 10_000))
def test_jitter_takes_off_up_to_a_half(policy: dict[str, float], attempt: int) -> None:
    delay = formula(attempt, **policy)
    jittered = Retry(**policy).delay_seconds(attempt)
    assert delay * 0.5 <= jittered * (1 + 1e-9)
    assert jittered <= delay * (1 + 1e-9)


def test_jitter_spreads_delays_also_at_the_cap() -> None:
    delays = {Retry(max_delay=10).delay_seconds(50) for _ in range(100)}
    assert 100 == len(delays)
    assert 5 <= min(delays) < 6
    assert 9 < max(delays) <= 10


@given(st.integers(1, 10), st.integers(1, 12))
def test_it_is_tried_as_often_as_the_policy_says_in_all(max_attempts: int, attempt: int) -> None:
    is_tried_again = Retry(max_attempts=max_attempts).decide(attempt, ValueError()) is not None
    assert (attempt < max_attempts) == is_tried_again


def test_a_run_may_have_a_number_of_attempts_of_its_own() -> None:
    policy = Retry(max_attempts=3)
    assert policy.decide(2, ValueError(), max_attempts=2) is None
    assert policy.decide(5, ValueError(), max_attempts=9) is not None


def test_by_default_nothing_is_tried_again() -> None:
    assert ONCE.decide(1, ValueError()) is None


@pytest.mark.parametrize(
    ("policy", "error", "is_tried_again"),
    [
        ({}, ValueError(), True),
        ({}, KeyboardInterrupt(), False),
        ({}, SystemExit(), False),
        ({"retry_on": (OSError,)}, ConnectionError(), True),
        ({"retry_on": (OSError,)}, ValueError(), False),
        ({"retry_on": ()}, ValueError(), False),
        ({"retry_on": (SystemExit, ValueError)}, SystemExit(), True),
        ({"give_up_on": (KeyError,)}, KeyError(), False),
        ({"give_up_on": (LookupError,)}, KeyError(), False),
        ({"give_up_on": (KeyError,)}, IndexError(), True),
        ({"retry_on": (LookupError,), "give_up_on": (KeyError,)}, KeyError(), False),
        ({"retry_on": (LookupError,), "give_up_on": (KeyError,)}, IndexError(), True),
    ],
)
def test_which_errors_are_tried_again(policy: dict[str, Any], error: BaseException, is_tried_again: bool) -> None:
    assert is_tried_again == (Retry(max_attempts=2, **policy).decide(1, error) is not None)


@pytest.mark.parametrize(
    "error",
    [
        Abort("the card is stolen"),
        UsageError("a sleep inside a step"),
        NotSerializable("the result", "$", "a object"),
        PayloadInvalid("sync", [{"pointer": "/a", "detail": "missing"}]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_fail_again_is_not_tried_again_whatever_the_policy_says(error: Exception) -> None:
    assert Retry(max_attempts=99, retry_on=(BaseException,)).decide(1, error) is None


@pytest.mark.parametrize(("seconds", "delay"), [(30, 30), (0.5, 0.5), (0, 0), (-5, 0), (99_999, 99_999)])
def test_retry_after_sets_the_delay(seconds: float, delay: float) -> None:
    policy = Retry(max_attempts=2, retry_on=(OSError,), max_delay=60)
    assert delay == policy.decide(1, RetryAfter(seconds))
    assert policy.decide(2, RetryAfter(seconds)) is None


@pytest.mark.parametrize(
    "policy",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"min_delay": -1},
        {"min_delay": 61},
        {"max_delay": 0.5},
        {"factor": 0.5},
        {"factor": 0},
        {"factor": math.nan},
        {"min_delay": math.nan},
        {"max_delay": math.nan},
        {"retry_on": [ValueError]},
        {"retry_on": ("ValueError",)},
        {"give_up_on": [ValueError]},
        {"give_up_on": "ValueError"},
    ],
    ids=str,
)
def test_values_that_make_no_policy_are_refused_where_they_are_written(policy: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Retry(**policy)


@given(st.integers(1, 10_000), st.floats(1, 1e300))
def test_no_attempt_is_too_late_for_a_finite_delay(attempt: int, factor: float) -> None:
    assume(factor < 1e300)
    assert 0 <= Retry(factor=factor).delay_seconds(attempt) <= 60
