"""Asking a store: a request that fails for a reason that may pass is made again, with growing pauses."""

import errno
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

from apache_beam.io.filesystem import BeamIOError
from apache_beam.utils import retry

from transforms.errors import UserError

_RETRIES, _FIRST_PAUSE_SECONDS = 6, 0.5  # about half a minute in all
_MISSING, _FORBIDDEN = {404}, {401, 403}  # HTTP
_REFUSED = {400, 405, 409, 412} | _FORBIDDEN  # asking again changes nothing
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def ask(
    function: Callable[Concatenate[str, Arguments], Result],
    path: str,
    *args: Arguments.args,
    **options: Arguments.kwargs,
) -> Result:
    """Calls a function that asks a store about a path, again where it fails for a reason that may pass.

    Raises:
      UserError: no store takes such a path.
      OSError: what a disk would raise: FileNotFoundError, PermissionError, or that of a failed disk. It has a number,
        by which readers tell it from a damaged file.
    """
    repeat = retry.with_exponential_backoff(
        num_retries=_RETRIES, initial_delay_secs=_FIRST_PAUSE_SECONDS, retry_filter=_may_pass
    )
    try:
        return repeat(function)(path, *args, **options)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        forbidden = _has_status(error, _FORBIDDEN, PermissionError)
        number = errno.ENOENT if is_missing(error) else errno.EACCES if forbidden else errno.EIO
        raise OSError(number, f"{type(error).__name__}: {' '.join(str(error).split())}", path) from error


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
