import logging
import threading
import time

import pytest

from transforms.store import retries
from transforms.store.retries import ask


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A process that has asked no store yet, and in which a second of pause takes no time; gives the pauses."""
    monkeypatch.setattr(retries, "waiting", retries.Waiting())
    pauses, sleep = [], time.sleep

    def short(seconds):
        if threading.current_thread() is threading.main_thread():
            pauses.append(seconds)
        sleep(0.001)

    monkeypatch.setattr(time, "sleep", short)
    return pauses


def dead(calls):
    def fail(path):
        calls.append(path)
        raise ConnectionError("no answer")

    return lambda path: ask(fail, path)


def test_before_work_half_a_minute_is_waited_in_all(clock):
    calls = []
    for _ in range(3):
        with pytest.raises(OSError, match="no answer"):
            dead(calls)("s3://bucket/x")
    assert sum(clock) <= 3 * 30
    clock.clear()
    answers = iter([ConnectionError(), "yes"])

    def flaky(path):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert ask(flaky, "s3://bucket/x") == "yes"
    assert retries.waiting.spent_s == sum(clock) == 0.5


def test_while_work_goes_on_an_outage_may_last_five_minutes(clock):
    retries.work_begins()
    with pytest.raises(OSError, match="no answer"):
        dead([])("s3://bucket/x")
    assert 240 < sum(clock) <= 300


def test_what_is_asked_within_is_not_tried_again_for_itself(clock):
    calls = []
    inner = dead(calls)
    with pytest.raises(OSError, match="no answer"):
        ask(inner, "s3://bucket/x")
    assert len(calls) == 6  # at 0, 0.5, 1.5, 3.5, 7.5 and 15.5 seconds


def test_a_process_that_ends_asks_nothing_again(clock):
    retries.stop_waiting()
    calls = []
    with pytest.raises(OSError, match="no answer"):
        dead(calls)("s3://bucket/x")
    assert (len(calls), clock) == (1, [])


def test_a_line_says_what_is_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(retries, "WORD_AFTER_S", 0.01)
    said = threading.Event()

    def slow(path):
        for _ in range(2000):
            if caplog.records:
                break
            said.wait(0.005)

    with caplog.at_level(logging.WARNING, "cambeam"):
        ask(slow, "gs://bucket/file?token=secret")
    assert caplog.messages[0].startswith("waiting for the store of gs://bucket/file?token=*** since")
