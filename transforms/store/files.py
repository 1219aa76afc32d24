"""Files on any store that Beam knows (local, gs://, s3://): the few operations that reading and committing need.

A request to a store that fails for what may be a temporary reason is made again.
"""

import functools
import io
import json
import os
import posixpath
import shutil
from collections.abc import Callable, Iterator
from typing import IO, Any, Concatenate

from apache_beam.io.filesystem import BeamIOError, FileMetadata
from apache_beam.io.filesystems import FileSystems

from transforms.errors import UserError
from transforms.store.resuming_file import RAW, ResumingFile
from transforms.store.retries import Arguments, Result, ask, is_missing

BUFFER_BYTES = 1 << 20  # of a file on a store, which are asked for at once


def is_local(path: str) -> bool:
    """Tells whether a path is on this machine."""
    return FileSystems.get_scheme(path) is None


def join(*parts: str) -> str:
    """Joins path parts with the separator that every store understands."""
    return posixpath.join(*parts)


def _on_any_store(
    function: Callable[Concatenate[str, Arguments], Result],
) -> Callable[Concatenate[str, Arguments], Result]:
    """Makes a function of a path repeat a request that fails on a store, and then raise what a disk would."""

    @functools.wraps(function)
    def wrapper(path: str, *args: Arguments.args, **options: Arguments.kwargs) -> Result:
        return function(path, *args, **options) if is_local(path) else ask(function, path, *args, **options)

    return wrapper


def open_read(path: str) -> io.BufferedReader:
    """Opens a file for reading its bytes as they are; on a store, reading survives broken connections."""
    if is_local(path):
        return open(path, "rb")
    return io.BufferedReader(ResumingFile(path), BUFFER_BYTES)


@_on_any_store
def upload(path: str, content: IO[bytes]) -> None:
    """Copies the whole of a local file to a store; interrupted, it may leave a part of it there."""
    content.seek(0)
    with FileSystems.create(path, compression_type=RAW) as file:
        shutil.copyfileobj(content, file, BUFFER_BYTES)


def read_bytes(path: str) -> bytes:
    """Returns a whole file."""
    with open_read(path) as file:
        return file.read()


def read_json(path: str) -> Any:
    """Returns the value of a JSON file, or None where there is no such file.

    Raises:
      UserError: the file is not JSON.
    """
    try:
        content = read_bytes(path)  # one request; to ask first whether the file exists would be another
    except Exception as error:
        if is_missing(error):
            return None
        raise
    try:
        return json.loads(content)
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file: {error}") from error


def write_json(path: str, value: Any, temporary_path: str) -> None:
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
    elif len(content) <= BUFFER_BYTES:
        upload(path, io.BytesIO(content))  # in one piece, so that it is there whole or not at all
    else:
        upload(temporary_path, io.BytesIO(content))  # interrupted, S3 would show a part of it
        rename(temporary_path, path)


def rename(source: str, destination: str) -> None:
    """Moves a file, replacing what lies at the destination."""
    make_folder_of(destination)
    _rename(source, destination)


@_on_any_store
def _rename(source: str, destination: str) -> None:
    try:
        FileSystems.rename([source], [destination])
    except BeamIOError:
        # a store copies and deletes: if its answer was lost and it was asked again, the source is gone and all is well
        if is_local(source) or exists(source) or not exists(destination):
            raise


@_on_any_store
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


@_on_any_store
def exists(path: str) -> bool:
    """Tells whether a file is there."""
    return os.path.exists(path) if is_local(path) else FileSystems.exists(path)


def is_file(path: str) -> bool:
    """Tells whether a path is a file, not a folder."""
    return os.path.isfile(path) if is_local(path) else exists(path)


@_on_any_store
def metadata(path: str) -> FileMetadata:
    """Returns a file's size and modification time."""
    return FileSystems.get_filesystem(path).metadata(path)


@_on_any_store
def match(pattern: str) -> list[FileMetadata]:
    """Lists the files that match a pattern (`*` within a folder, `**` at any depth), sorted by path.

    Local ones are regular files: to open a named pipe would wait for someone who writes to it.
    """
    found = sorted(FileSystems.match([pattern])[0].metadata_list, key=lambda metadata: metadata.path)
    return [metadata for metadata in found if os.path.isfile(metadata.path)] if is_local(pattern) else found


def files_below(folder: str) -> list[FileMetadata]:
    """Lists the files in a folder at any depth, sorted by path; none where it does not exist.

    Unlike a pattern, a local folder may have any name. Links to folders are followed, and each folder is listed once:
    by its own path where it has one below this folder.
    """
    if not is_local(folder):
        return match(join(folder, "**"))
    paths = (join(parent, name) for parent, names in _local_folders(folder) for name in names)
    return [metadata(path) for path in sorted(paths) if os.path.isfile(path)]


def _local_folders(top: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the folders below one and the names in each; those that links lead to come last, unless they are known."""
    seen, links = set(), [top]
    while links:
        for parent, folders, names in os.walk(links.pop(0)):
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            links += [path for path in (join(parent, name) for name in sorted(folders)) if os.path.islink(path)]
            yield parent, names


def names(folder: str) -> list[str]:
    """Lists the names of the files directly in a folder; none where it does not exist."""
    if is_local(folder):
        return sorted(entry.name for entry in os.scandir(folder)) if os.path.isdir(folder) else []
    return [posixpath.basename(metadata.path) for metadata in match(join(folder, "*"))]


def sizes(folder: str) -> dict[str, int]:
    """Returns the sizes in bytes of the files directly in a folder, by name; none where it does not exist."""
    if is_local(folder):
        if not os.path.isdir(folder):
            return {}
        return {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    return {posixpath.basename(found.path): found.size_in_bytes for found in match(join(folder, "*"))}


def flush_folder_of(path: str) -> None:
    """Makes the renaming of a local file outlast a power cut; stores do so by themselves."""
    if is_local(path):
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def make_folder_of(path: str) -> None:
    """Makes the folder of a local path; stores have none."""
    if is_local(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
