"""Asking a store again: a request that fails for a reason that may pass is made again, with growing pauses."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from apache_beam.io.filesystem import BeamIOError
from apache_beam.utils import retry

_RETRIES, _FIRST_PAUSE_SECONDS = 6, 0.5  # about half a minute in all
_MISSING, _REFUSED = {404}, {400, 401, 403, 405, 409, 412}  # HTTP: asking again changes nothing
Function = TypeVar("Function", bound=Callable[..., Any])


def persistent(function: Function) -> Function:
    """Makes a function that asks a store try again."""
    return retry.with_exponential_backoff(
        num_retries=_RETRIES, initial_delay_secs=_FIRST_PAUSE_SECONDS, retry_filter=_may_pass
    )(function)


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
