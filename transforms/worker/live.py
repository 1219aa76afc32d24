"""What the workers of this process tell the launcher, and what it tells them.

Useful only where both are one process, as on Beam's in-process runner with threads; elsewhere the counts stay zero.
"""

import threading
from typing import NamedTuple


class Counts(NamedTuple):
    """What was done since the process began."""

    written: int = 0  # images
    rejected: int = 0  # images
    read_bytes: int = 0  # of encoded images


class StoppedError(Exception):
    """The launcher asked the workers to stop."""


_lock = threading.Lock()
_counts = Counts()
_stop = threading.Event()


def add(written: int = 0, rejected: int = 0, read_bytes: int = 0) -> None:
    """Adds to the counts."""
    global _counts
    with _lock:
        _counts = Counts(_counts.written + written, _counts.rejected + rejected, _counts.read_bytes + read_bytes)


def counts() -> Counts:
    """Returns the counts so far."""
    return _counts


def stop() -> None:
    """Asks the workers of this process to stop at their next batch."""
    _stop.set()


def resume() -> None:
    """Takes back what `stop` asked for: another run begins in this process."""
    _stop.clear()


def raise_if_stopped() -> None:
    """Raises StoppedError once `stop` was called."""
    if _stop.is_set():
        raise StoppedError("stopped on request")
