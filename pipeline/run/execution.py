"""Running a pipeline to its end, with progress, and stopping it cleanly when asked to."""

import functools
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TextIO

import apache_beam as beam

from transforms.store.credentials import redact
from transforms.worker import live

_LOCAL, _REMOTE = "cambeam-pipeline", "cambeam-remote-pipeline"  # names of threads
_POLL_SECONDS = 0.2
_STOP_SECONDS = 6.0  # that workers in this process get to come to the end of their batches
_SUBMIT_SECONDS = 30.0
_logger = logging.getLogger("cambeam")


class Terminated(KeyboardInterrupt):
    """SIGTERM, treated as Ctrl-C is."""


class WorkerDiedError(RuntimeError):
    """A worker process ended before its work did."""


class Execution:
    """A pipeline that runs in a thread, since Beam's in-process runner blocks to the end and gives no sign of life.

    Attributes:
      remote: the job goes on without this process; who stops waiting for it does not stop it.
      job_id: of the job behind a job server or on Dataflow, once it is submitted.
    """

    def __init__(self, pipeline: beam.Pipeline, remote: bool = False) -> None:
        self._pipeline, self.remote = pipeline, remote
        self._submitted = threading.Event()
        self._errors: list[BaseException] = []
        self._poll_failed = False
        self.job_id: str | None = None

    def run_to_end(self, on_poll: Callable[[], None]) -> None:
        """Runs the pipeline, calling `on_poll` five times a second; if that fails, the pipeline runs on all the same.

        Raises:
          KeyboardInterrupt: the user stopped the run; workers in this process have stopped too, others were left alone.
          WorkerDiedError: a worker process is gone; the in-process runner would wait for it forever.
          Exception: what the pipeline failed with.
        """
        thread = threading.Thread(target=self._run, name=_REMOTE if self.remote else _LOCAL, daemon=True)
        with _sigterm_interrupts(), _quiet_workers(), self._watched_workers():
            try:
                thread.start()
                while thread.is_alive() and not self._errors:
                    thread.join(_POLL_SECONDS)
                    self._poll(on_poll)
            except KeyboardInterrupt:
                if self.remote:
                    self._submitted.wait(_SUBMIT_SECONDS)  # a job half submitted would have no id to be found by
                else:
                    live.stop()
                    thread.join(_STOP_SECONDS)
                raise
        if self._errors:
            raise self._errors[0]

    def _poll(self, on_poll: Callable[[], None]) -> None:
        try:
            on_poll()
        except Exception as error:
            if not self._poll_failed:
                _logger.warning("the run goes on, but its progress can't be shown: %s", root_cause(error))
            self._poll_failed = True

    def _run(self) -> None:
        try:
            result = self._pipeline.run()
            job_id = getattr(result, "job_id", None) or getattr(result, "_job_id", None)
            self.job_id = job_id() if callable(job_id) else job_id
            self._submitted.set()
            result.wait_until_finish()
        except BaseException as error:  # raised again in the main thread
            self._errors.append(error)
        finally:
            self._submitted.set()

    @contextmanager
    def _watched_workers(self) -> Iterator[None]:
        """Notices when a thread that waits for a worker process ends with an error."""

        def notice(arguments: threading.ExceptHookArgs) -> None:
            if arguments.thread and arguments.thread.name == "run_worker":
                self._errors.append(
                    WorkerDiedError(f"a worker process died: {str(arguments.exc_value).splitlines()[0]}")
                )

        previous, threading.excepthook = threading.excepthook, notice
        try:
            yield
        finally:
            threading.excepthook = previous


def wait_for_stopped() -> None:
    """Waits for local workers that were asked to stop, and had not come to the end of their batches when that ended."""
    for thread in threading.enumerate():
        if thread.name == _LOCAL:
            thread.join()


@contextmanager
def _quiet_workers() -> Iterator[None]:
    """Drops the tracebacks that Beam's workers print, unless logs are wanted; the error itself is raised in the end."""
    if _logger.isEnabledFor(logging.DEBUG):
        yield
        return
    previous, sys.stderr = sys.stderr, _nowhere()
    stopped = False
    try:
        yield
    except KeyboardInterrupt:
        stopped = True  # the process is about to end, and workers that stop later than others print then
        raise
    finally:
        if not stopped:
            sys.stderr = previous


@functools.cache
def _nowhere() -> TextIO:
    return open(os.devnull, "w")


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def root_cause(error: BaseException) -> str:
    """Returns the one line that matters of an error that Beam has wrapped, traceback and all, into its message."""
    if "_MultiThreadedRendezvous" in str(error) or "_InactiveRpcError" in str(error):
        return (
            "WorkerDiedError: a worker process ended, or no longer answers"  # not the forty lines that gRPC has of it
        )
    lines = [line for line in str(error).splitlines() if re.match(r"[\w.]+(Error|Exception)\b.*: ", line)]
    last_line = str(error).strip().rpartition("\n")[2]
    text = lines[-1] if lines else f"{type(error).__name__}: {last_line}"
    text = re.sub(r"\s*\[while running .*", "", text)
    return redact(re.sub(r"^(?:\w+\.)*(\w+: )", r"\1", text))
