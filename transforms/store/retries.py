"""Asking a store: a request that fails for what may be a temporary reason is made again, with growing pauses."""

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

from apache_beam.io.filesystem import BeamIOError

from transforms.errors import UserError
from transforms.store.credentials import redact

_BEFORE_WORK_S, _OUTAGE_S = 30.0, 300.0  # of waiting: in all before the first shard is taken up, and later each time
WORD_AFTER_S, _WORD_EVERY_S = 5.0, 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _STEP_S = 0.5, 30.0, 0.5
_MISSING, _FORBIDDEN = {404}, {401, 403}  # HTTP
_REFUSED = {400, 405, 409, 412} | _FORBIDDEN  # asking again changes nothing
_logger = logging.getLogger("cambeam")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Waiting:
    """What this process knows of its waiting for stores."""

    def __init__(self) -> None:
        self.work_begun, self.stopped = False, False
        self.spent_s = 0.0  # waited before work began
        self.asked: dict[int, tuple[float, str]] = {}  # by thread: since when it waits for an answer, and about what
        self.within = threading.local()
        self.watched = threading.Lock()  # held for good by the thread that says what is waited for

    def patience_s(self) -> float:
        return _OUTAGE_S if self.work_begun else _BEFORE_WORK_S - self.spent_s


waiting = Waiting()


def work_begins() -> None:
    """Says that a shard is taken up: from here on an outage may last longer."""
    waiting.work_begun = True


def stop_waiting() -> None:
    """Has nothing asked again from here on, as the run is to end."""
    waiting.stopped = True


def run_begins() -> None:
    """Says that a run begins in this process, with the patience of one."""
    waiting.stopped, waiting.work_begun, waiting.spent_s = False, False, 0.0


def ask(
    function: Callable[Concatenate[str, Arguments], Result],
    path: str,
    *args: Arguments.args,
    **options: Arguments.kwargs,
) -> Result:
    """Calls a function that asks a store about a path, and calls it again where it fails for a temporary reason.

    What the function asks within is not asked again for itself.

    Raises:
      UserError: no store takes such a path.
      OSError: what a disk would raise: FileNotFoundError, PermissionError, or that of a failed disk. It has a number,
        by which readers tell it from a damaged file.
    """
    try:
        if getattr(waiting.within, "request", False):
            return function(path, *args, **options)
        return _ask_again(lambda: function(path, *args, **options), path)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        forbidden = _has_status(error, _FORBIDDEN, PermissionError)
        number = errno.ENOENT if is_missing(error) else errno.EACCES if forbidden else errno.EIO
        raise OSError(number, f"{type(error).__name__}: {' '.join(str(error).split())}", path) from error


def _ask_again(request: Callable[[], Result], path: str) -> Result:
    """Makes a request until it is answered, or for as long as there is patience."""
    if waiting.watched.acquire(blocking=False):
        threading.Thread(target=_say_what_is_waited_for, name="cambeam-stores", daemon=True).start()
    started, paused_s, pause_s = time.monotonic(), 0.0, _FIRST_PAUSE_S
    waiting.within.request, waiting.asked[threading.get_ident()] = True, (started, path)
    try:
        while True:
            try:
                answer = request()
                waiting.spent_s += paused_s
                return answer
            except Exception as error:
                waited_s = max(time.monotonic() - started, paused_s)
                if not _may_pass(error) or waited_s + pause_s > waiting.patience_s():
                    raise
                _pause(pause_s, error)
                paused_s, pause_s = paused_s + pause_s, min(2 * pause_s, _LONGEST_PAUSE_S)
    finally:
        waiting.within.request = False
        waiting.asked.pop(threading.get_ident(), None)


def _pause(seconds: float, error: Exception) -> None:
    """Waits, or raises the error as soon as the process is to end."""
    for _ in range(round(seconds / _STEP_S)):
        if waiting.stopped:
            raise error
        time.sleep(_STEP_S)


def _say_what_is_waited_for() -> None:
    """Says, for as long as the process lives, which answer of a store has been waited for long."""
    said: dict[float, float] = {}
    while True:
        time.sleep(1)
        now = time.monotonic()
        for started, path in list(waiting.asked.values()):
            if now - max(started, said.get(started, 0.0)) > (_WORD_EVERY_S if started in said else WORD_AFTER_S):
                said = {started: now}
                _logger.warning("waiting for the store of %s since %.0f s", redact(path), now - started)
                break


def is_missing(error: BaseException) -> bool:
    """Tells whether an error says that a file does not exist."""
    return _has_status(error, _MISSING, FileNotFoundError)


def _may_pass(error: BaseException) -> bool:
    permanent = (PermissionError, NotADirectoryError, IsADirectoryError, ValueError, TypeError, ImportError)
    return not is_missing(error) and not _has_status(error, _REFUSED, permanent)


def _has_status(error: BaseException, statuses: set[int], kinds: type | tuple[type, ...]) -> bool:
    return any(isinstance(cause, kinds) or getattr(cause, "code", None) in statuses for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and those that Beam has packed into it."""
    yield error
    if isinstance(error, BeamIOError):
        for cause in (error.exception_details or {}).values():
            if isinstance(cause, BaseException):
                yield from _causes(cause)
