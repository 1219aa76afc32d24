"""Files on any store that Beam knows (local, gs://, s3://): the few operations that reading and committing need.

On a store, a request that fails for a reason that may pass is made again, with growing pauses.
"""

import contextlib
import errno
import functools
import io
import json
import os
import posixpath
import shutil
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeVar

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils import retry

_RAW = CompressionTypes.UNCOMPRESSED  # else Beam would unpack what it thinks a name says
_BUFFER_BYTES = 1 << 20
_RETRIES, _FIRST_PAUSE_SECONDS = 6, 0.5  # about half a minute in all
_MISSING, _REFUSED = {404}, {400, 401, 403, 405, 409, 412}  # HTTP: asking again changes nothing
Function = TypeVar("Function", bound=Callable[..., Any])


def is_local(path: str) -> bool:
    """Tells whether a path is on this machine."""
    return FileSystems.get_scheme(path) is None


def join(*parts: str) -> str:
    """Joins path parts with the separator that every store understands."""
    return posixpath.join(*parts)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and those that Beam has packed into it."""
    yield error
    if isinstance(error, BeamIOError):
        for cause in (error.exception_details or {}).values():
            if isinstance(cause, BaseException):
                yield from _causes(cause)


def _has_status(error: BaseException, statuses: set[int], kinds: type | tuple[type, ...]) -> bool:
    return any(isinstance(cause, kinds) or getattr(cause, "code", None) in statuses for cause in _causes(error))


def is_missing(error: BaseException) -> bool:
    """Tells whether an error says that a file does not exist."""
    return _has_status(error, _MISSING, FileNotFoundError)


def _may_pass(error: BaseException) -> bool:
    permanent = (PermissionError, NotADirectoryError, IsADirectoryError, ValueError, TypeError, ImportError)
    return not is_missing(error) and not _has_status(error, _REFUSED, permanent)


def _retried(function: Function) -> Function:
    """Makes a function of a path try again where the path is not local."""
    persistent = retry.with_exponential_backoff(
        num_retries=_RETRIES, initial_delay_secs=_FIRST_PAUSE_SECONDS, retry_filter=_may_pass
    )(function)

    @functools.wraps(function)
    def wrapper(path: str, *args):
        return function(path, *args) if is_local(path) else persistent(path, *args)

    return wrapper  # type: ignore[return-value] # the same signature


def open_read(path: str) -> io.BufferedReader:
    """Opens a file for reading its bytes as they lie there; on a store, a broken connection is taken up again."""
    if is_local(path):
        return open(path, "rb")
    return io.BufferedReader(_ResumingReader(path), _BUFFER_BYTES)


class _ResumingReader(io.RawIOBase):
    """Reads a file of a store, opening it again at the place where reading failed."""

    def __init__(self, path: str):
        self._path, self._position = path, 0
        self._file: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}
        self._position = offset + (metadata(self._path).size_in_bytes if whence == io.SEEK_END else begin[whence])
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:
        try:
            data = _read_on(self._path, self, len(buffer))
        except Exception as error:
            if is_missing(error):
                raise
            # with a number, as the errors of disks have: no reader may take it for a damaged file
            raise OSError(errno.EIO, f"{self._path} can't be read: {type(error).__name__}: {error}") from error
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def read_on(self, count: int) -> bytes:
        """Returns the next bytes, without moving on; raises what the store raises."""
        try:
            if self._file is None:
                self._file = FileSystems.open(self._path, compression_type=_RAW)
            if self._file.tell() != self._position:
                self._file.seek(self._position)
            return self._file.read(count)
        except Exception:
            with contextlib.suppress(Exception):  # of a broken connection; the error that matters is raised
                self._close_file()
            raise

    def close(self) -> None:
        self._close_file()
        super().close()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


@_retried
def _read_on(path: str, reader: _ResumingReader, count: int) -> bytes:
    return reader.read_on(count)


@_retried
def upload(path: str, content: IO[bytes]) -> None:
    """Writes a file of a store from the begin of a local one; it appears there whole or not at all."""
    content.seek(0)
    with FileSystems.create(path, compression_type=_RAW) as file:
        shutil.copyfileobj(content, file, _BUFFER_BYTES)


def read_bytes(path: str) -> bytes:
    """Returns a whole file."""
    with open_read(path) as file:
        return file.read()


def read_json(path: str):
    """Returns the value of a JSON file, or None where there is no such file.

    Raises:
      ValueError: the file is not JSON.
    """
    try:
        content = read_bytes(path)  # one request: to ask first whether it is there would be another
    except Exception as error:
        if is_missing(error):
            return None
        raise
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def write_json(path: str, value, temporary_path: str) -> None:
    """Writes a JSON file that is either whole or absent."""
    write_bytes(
        path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(errors="backslashreplace"), temporary_path
    )


def write_bytes(path: str, content: bytes, temporary_path: str) -> None:
    """Writes a file that is either whole or absent: to a temporary path first, then renamed."""
    if is_local(path):
        make_folder_of(temporary_path)
        with open(temporary_path, "wb") as file:
            file.write(content)
        rename(temporary_path, path)
    else:
        upload(path, io.BytesIO(content))  # stores show whole files only


def rename(source: str, destination: str) -> None:
    """Moves a file, replacing what lies at the destination."""
    make_folder_of(destination)
    _rename(source, destination)


@_retried
def _rename(source: str, destination: str) -> None:
    try:
        FileSystems.rename([source], [destination])
    except BeamIOError:
        # a store copies and deletes: asked again after the answer got lost, the source is gone and all is well
        if is_local(source) or exists(source) or not exists(destination):
            raise


@_retried
def delete(path: str) -> None:
    """Deletes a file. An absent one is no error."""
    try:
        os.remove(path) if is_local(path) else FileSystems.delete([path])
    except Exception as error:
        if not is_missing(error):
            raise


def delete_folder(path: str) -> None:
    """Deletes a folder and all that is in it. An absent one is no error."""
    if is_local(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        for file in files_below(path):
            delete(file.path)


@_retried
def exists(path: str) -> bool:
    """Tells whether a file is there."""
    return os.path.exists(path) if is_local(path) else FileSystems.exists(path)


def is_file(path: str) -> bool:
    """Tells whether a path is a file, not a folder."""
    return os.path.isfile(path) if is_local(path) else exists(path)


@_retried
def metadata(path: str) -> FileMetadata:
    """Returns a file's size and modification time."""
    return FileSystems.get_filesystem(path).metadata(path)


@_retried
def match(pattern: str) -> list[FileMetadata]:
    """Lists the files that match a pattern (`*` within a folder, `**` at any depth), sorted by path."""
    return sorted(FileSystems.match([pattern])[0].metadata_list, key=lambda metadata: metadata.path)


def files_below(folder: str) -> list[FileMetadata]:
    """Lists the files in a folder at any depth, sorted by path; none where it does not exist.

    Unlike a pattern, a local folder may have any name.
    """
    if not is_local(folder):
        return match(join(folder, "**"))
    paths = (join(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    return [metadata(path) for path in sorted(paths) if os.path.isfile(path)]


def names(folder: str) -> list[str]:
    """Lists the names of the files directly in a folder; none where it does not exist."""
    if is_local(folder):
        return sorted(entry.name for entry in os.scandir(folder)) if os.path.isdir(folder) else []
    return [posixpath.basename(metadata.path) for metadata in match(join(folder, "*"))]


def make_folder_of(path: str) -> None:
    """Makes the folder of a local path; stores have none."""
    if is_local(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
