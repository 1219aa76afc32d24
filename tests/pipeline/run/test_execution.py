import logging
import os
import signal
import threading

import apache_beam as beam
import pytest

from pipeline.run.execution import Execution, Terminated, root_cause
from transforms.worker import live


class Never:
    """A pipeline that runs until it is asked to stop."""

    def run(self):
        while True:
            live.raise_if_stopped()
            threading.Event().wait(0.01)


def boom(_):
    raise RuntimeError("boom: the cause")


def test_an_error_is_raised_with_its_cause_in_one_line():
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | beam.Create([1]) | "Fail" >> beam.Map(boom)
    with pytest.raises(Exception, match="boom") as raised:
        Execution(pipeline).run_to_end(lambda: None)
    assert root_cause(raised.value) == "RuntimeError: boom: the cause"


def test_a_run_to_the_end_is_polled():
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | beam.Create([1])
    polls = []
    Execution(pipeline).run_to_end(lambda: polls.append(1))
    assert polls


@pytest.mark.parametrize("remote", [False, True])
def test_a_failing_poll_is_told_once_and_the_waiting_goes_on(caplog, remote):
    class Job:
        end = threading.Event()

        def run(self):
            return self

        def wait_until_finish(self):
            self.end.wait()

    polls = []

    def poll():
        polls.append(1)
        if len(polls) < 3:
            raise OSError("the store is away")
        Job.end.set()

    with caplog.at_level(logging.WARNING, "cambeam"):
        Execution(Job(), remote).run_to_end(poll)
    assert len(polls) >= 3
    assert [record.getMessage() for record in caplog.records] == [
        "the run goes on, but its progress can't be shown: OSError: the store is away"
    ]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_signals_stop_the_workers_and_are_raised(number, error):
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(error):
            Execution(Never()).run_to_end(lambda: os.kill(os.getpid(), number))
    finally:
        signal.signal(signal.SIGINT, previous)
    assert not any(thread.name == "cambeam-pipeline" for thread in threading.enumerate())
    assert signal.getsignal(signal.SIGTERM) == sigterm


def test_a_remote_job_is_left_running_once_it_has_an_id():
    class Remote:
        job_id = "job-7"
        started, end = threading.Event(), threading.Event()

        def run(self):
            self.started.set()
            threading.Event().wait(0.1)  # the submission
            return self

        def wait_until_finish(self):
            self.end.wait()

    execution = Execution(Remote(), remote=True)

    def interrupt():
        Remote.started.wait()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execution.run_to_end(interrupt)
    assert execution.job_id == "job-7"
    live.raise_if_stopped()  # they were not asked to stop
    Remote.end.set()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Traceback:\n  File x\nvalues.BadError: it broke [while running 'A']\n", "BadError: it broke"),
        ("plain", "RuntimeError: plain"),
        ("", "RuntimeError: "),
    ],
)
def test_root_cause(message, expected):
    assert root_cause(RuntimeError(message)) == expected
