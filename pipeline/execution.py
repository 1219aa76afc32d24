"""Running a pipeline to its end, with progress, and stopping it cleanly when asked to."""

import contextlib
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apache_beam as beam

from transforms import live

_POLL_SECONDS = 0.2
_STOP_SECONDS = 30.0  # that workers in this process get to come to the end of their batches


class Terminated(KeyboardInterrupt):
    """SIGTERM, treated as Ctrl-C is."""


def run_to_end(pipeline: beam.Pipeline, on_poll: Callable[[], None]) -> None:
    """Runs a pipeline, calling `on_poll` five times a second.

    Beam's in-process runner blocks to the end and gives no sign of life, hence the thread.

    Raises:
      KeyboardInterrupt: the user stopped the run; the workers of this process have stopped too.
      Exception: what the pipeline failed with.
    """
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            pipeline.run().wait_until_finish()
        except BaseException as error:  # raised again in the main thread
            outcome.append(error)

    thread = threading.Thread(target=work, name="cambeam-pipeline", daemon=True)
    with _sigterm_interrupts(), _quiet_workers():
        try:
            thread.start()
            while thread.is_alive():
                thread.join(_POLL_SECONDS)
                on_poll()
        except KeyboardInterrupt:
            live.stop()
            thread.join(_STOP_SECONDS)
            raise
    if outcome:
        raise outcome[0]


@contextmanager
def _quiet_workers() -> Iterator[None]:
    """Drops the tracebacks that Beam's workers print, unless logs are wanted; the error itself is raised in the end."""
    if logging.getLogger("cambeam").isEnabledFor(logging.DEBUG):
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    def interrupt(signum, frame):
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
    lines = [line for line in str(error).splitlines() if re.match(r"[\w.]+(Error|Exception)\b.*: ", line)]
    text = lines[-1] if lines else f"{type(error).__name__}: {str(error).strip().splitlines()[-1:] or ['']}"
    text = re.sub(r"\s*\[while running .*", "", text)
    return re.sub(r"^(?:\w+\.)*(\w+: )", r"\1", text)
