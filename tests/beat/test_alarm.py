"""When a service has its next pass."""

import threading
import time

import pytest

from celeriac.beat.alarm import Alarm

pytestmark = pytest.mark.alone


def seconds_of(alarm: Alarm) -> float:
    began = time.monotonic()
    alarm.wait()
    return time.monotonic() - began


def test_the_first_pass_is_at_once_and_the_next_after_the_interval() -> None:
    alarm = Alarm(0.3)
    assert seconds_of(alarm) < 0.1
    assert 0.25 < seconds_of(alarm) < 1


def test_the_earliest_time_wins_and_a_later_one_does_not_move_it() -> None:
    alarm = Alarm(60)
    alarm.wait()
    alarm.set(0.2)
    alarm.set(5)
    assert 0.15 < seconds_of(alarm) < 1


def test_what_is_late_waits_until_the_service_has_rested_and_what_is_to_come_does_not() -> None:
    alarm = Alarm(60)
    alarm.wait()
    alarm.rest(0.3)
    alarm.set(-5)
    assert 0.25 < seconds_of(alarm) < 1
    alarm.rest(30)
    alarm.set(0.05)
    assert seconds_of(alarm) < 1


def test_a_ring_wakes_who_waits_however_long_it_should_rest() -> None:
    alarm = Alarm(60)
    alarm.wait()
    alarm.rest(60)
    threading.Timer(0.1, alarm.ring).start()
    assert seconds_of(alarm) < 5
