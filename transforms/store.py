"""Files on any store that Beam knows (local, gs://, s3://): the few operations that reading and committing need."""

import json
import os
import posixpath
import shutil
from collections.abc import Iterator

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

_RAW = CompressionTypes.UNCOMPRESSED  # else Beam would unpack what it thinks a name says


def is_local(path: str) -> bool:
    """Tells whether a path is on this machine."""
    return FileSystems.get_scheme(path) is None


def join(*parts: str) -> str:
    """Joins path parts with the separator that every store understands."""
    return posixpath.join(*parts)


def open_read(path: str):
    """Opens a file for reading its bytes as they lie there."""
    return FileSystems.open(path, compression_type=_RAW)


def open_write(path: str):
    """Opens a new file for writing; its folder is made where the store has folders."""
    _make_folder_of(path)
    return FileSystems.create(path, compression_type=_RAW)


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
        content = read_bytes(path)
    except (FileNotFoundError, BeamIOError):
        if exists(path):
            raise
        return None
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def write_json(path: str, value, temporary_path: str) -> None:
    """Writes a JSON file that is either whole or absent."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(), temporary_path)


def write_bytes(path: str, content: bytes, temporary_path: str) -> None:
    """Writes a file that is either whole or absent: to a temporary path first, then renamed."""
    with open_write(temporary_path) as file:
        file.write(content)
    rename(temporary_path, path)


def rename(source: str, destination: str) -> None:
    """Moves a file, replacing what lies at the destination."""
    _make_folder_of(destination)
    FileSystems.rename([source], [destination])


def delete_folder(path: str) -> None:
    """Deletes a folder and all that is in it. An absent one is no error."""
    if is_local(path):
        shutil.rmtree(path, ignore_errors=True)
    elif found := match(join(path, "**")):
        FileSystems.delete([metadata.path for metadata in found])


def delete(path: str) -> None:
    """Deletes a file. An absent one is no error."""
    try:
        FileSystems.delete([path])
    except (FileNotFoundError, BeamIOError):
        if exists(path):
            raise


def exists(path: str) -> bool:
    """Tells whether a file is there."""
    return FileSystems.exists(path)


def is_file(path: str) -> bool:
    """Tells whether a path is a file, not a folder."""
    return os.path.isfile(path) if is_local(path) else exists(path)


def metadata(path: str) -> FileMetadata:
    """Returns a file's size and modification time."""
    return FileSystems.get_filesystem(path).metadata(path)


def match(pattern: str) -> list[FileMetadata]:
    """Lists the files that match a pattern (`*` within a folder, `**` at any depth), sorted by path."""
    return sorted(FileSystems.match([pattern])[0].metadata_list, key=lambda metadata: metadata.path)


def names(folder: str) -> Iterator[str]:
    """Yields the names of the files directly in a folder; none where it does not exist."""
    for metadata in match(join(folder, "*")):
        yield posixpath.basename(metadata.path)


def _make_folder_of(path: str) -> None:
    if is_local(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
