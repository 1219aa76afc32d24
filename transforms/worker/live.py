"""What the workers of this process tell the launcher, and what it tells them.

Useful only where both are one process, as on Beam's in-process runner with threads; elsewhere the progress stays zero.
"""

import threading
from typing import NamedTuple

from transforms.store import retries


class Progress(NamedTuple):
    """What the workers of this process have done since it started."""

    written: int = 0  # images
    rejected: int = 0  # images
    read_bytes: int = 0  # of encoded images


class StoppedError(Exception):
    """The launcher asked the workers to stop."""


_lock = threading.Lock()
_progress = Progress()
_stop = threading.Event()


def add(written: int = 0, rejected: int = 0, read_bytes: int = 0) -> None:
    """Adds to the progress."""
    global _progress
    with _lock:
        done = _progress
        _progress = Progress(done.written + written, done.rejected + rejected, done.read_bytes + read_bytes)


def progress() -> Progress:
    """Returns the progress so far."""
    return _progress


def stop() -> None:
    """Asks the workers of this process to stop at their next batch."""
    _stop.set()
    retries.stop_waiting()


def resume() -> None:
    """Takes back what `stop` asked for: another run starts in this process."""
    _stop.clear()
    retries.run_begins()


def raise_if_stopped() -> None:
    """Raises StoppedError once `stop` was called."""
    if _stop.is_set():
        raise StoppedError("stopped on request")
