"""Asking a store again: a request that fails for a reason that may pass is made again, with growing pauses."""

import errno
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

from apache_beam.io.filesystem import BeamIOError
from apache_beam.utils import retry

_RETRIES, _FIRST_PAUSE_SECONDS = 6, 0.5  # about half a minute in all
_MISSING, _FORBIDDEN = {404}, {401, 403}  # HTTP
_REFUSED = {400, 405, 409, 412} | _FORBIDDEN  # asking again changes nothing
Function = TypeVar("Function", bound=Callable[..., Any])


def persistent(function: Function) -> Function:
    """Makes a function that asks a store try again."""
    return retry.with_exponential_backoff(
        num_retries=_RETRIES, initial_delay_secs=_FIRST_PAUSE_SECONDS, retry_filter=_may_pass
    )(function)


def is_missing(error: BaseException) -> bool:
    """Tells whether an error says that a file does not exist."""
    return _has_status(error, _MISSING, FileNotFoundError)


def raise_as_of_disk(error: Exception, path: str) -> NoReturn:
    """Raises what a disk would: FileNotFoundError, PermissionError, or an OSError with the number of a failed disk.

    All have a number: no reader may take them for a damaged file.
    """
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    forbidden = _has_status(error, _FORBIDDEN, PermissionError)
    number = errno.ENOENT if is_missing(error) else errno.EACCES if forbidden else errno.EIO
    raise OSError(number, f"{type(error).__name__}: {' '.join(str(error).split())}", path) from error


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
