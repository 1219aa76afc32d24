"""Reading shards: each format is one function from a shard to its samples, in order and in bounded memory."""

import json
import re
import tarfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from transforms import store
from transforms.records import ErrorType, Sample, Shard
from transforms.threads import map_ahead, thread_pool

MAX_ENCODED_BYTES = 256 * 1024 * 1024  # a larger member is no photograph, and is not read into memory
IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "gif", "avif"})
_FILES_AHEAD = 64  # image files that are read before they are asked for
_MEMBER_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")  # key up to the base name's first dot, extension after it


class Fields(NamedTuple):
    """Where a sample keeps what; None takes what is usual in its format."""

    image: str | None = None
    label: str | None = None
    id: str | None = None


USUAL_FIELDS = Fields()


class BadSample(NamedTuple):
    """A sample that can't be handed on. It has its place in the shard all the same, and becomes a reject."""

    image_id: str
    uri: str
    error_type: ErrorType
    message: str


Samples = Iterator[Sample | BadSample]


def read_webdataset(shard: Shard, fields: Fields) -> Samples:
    """Reads a tar file in which the members of a sample follow each other and share their name up to the first dot.

    The tar is streamed, compressed or not, and never sought in. What comes before a damaged place is kept.
    """
    with store.open_read(shard.uri) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|*", tarinfo=_StrictTarInfo) as tar:
                for key, members in _group_members(tar):
                    yield from _webdataset_samples(shard.uri, key, members, fields)
        except (tarfile.TarError, EOFError, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the store failed, not the file
            yield BadSample("", shard.uri, ErrorType.DAMAGED_SHARD, f"{type(error).__name__}: {error}")


class _StrictTarInfo(tarfile.TarInfo):
    """Raises where tarfile would take a damaged header, or the lack of one, for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar):
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {tar.offset}") from error


def _group_members(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    """Yields (key, {extension: content}) of each sample; the content of a member that is too large is None."""
    current, members = None, {}
    for member in tar:
        tar.members = []  # tarfile would remember every member of the archive
        name = _MEMBER_NAME.fullmatch(member.name)
        if not member.isfile() or name is None:
            continue
        key, extension = name.groups()
        if key != current or extension in members:
            if members:
                yield current, members
            current, members = key, {}
        members[extension] = tar.extractfile(member).read() if member.size <= MAX_ENCODED_BYTES else None
    if members:
        yield current, members


def _webdataset_samples(uri: str, key: str, members: dict[str, bytes | None], fields: Fields) -> Samples:
    wanted = (
        [fields.image] if fields.image else [e for e in members if e.lower().rpartition(".")[2] in IMAGE_EXTENSIONS]
    )
    images = [extension for extension in wanted if extension in members]
    if not images:
        yield BadSample(key, uri, ErrorType.NO_IMAGE, f"no image among the members {sorted(members)}")
    for extension in images:
        image_id = key if len(images) == 1 else f"{key}.{extension}".rpartition(".")[0]
        member_uri, encoded = f"{uri}#{key}.{extension}", members[extension]
        if encoded is None:
            yield BadSample(image_id, member_uri, ErrorType.TOO_MANY_BYTES, f"more than {MAX_ENCODED_BYTES} bytes")
            continue
        try:
            yield Sample(image_id, member_uri, encoded, _webdataset_label(members, fields))
        except (ValueError, TypeError, KeyError) as error:
            yield BadSample(image_id, member_uri, ErrorType.BAD_LABEL, f"{type(error).__name__}: {error}")


def _webdataset_label(members: dict[str, bytes | None], fields: Fields) -> int | None:
    if fields.label is not None:
        return None if not members.get("json") else _whole(json.loads(members["json"])[fields.label])
    return None if not members.get("cls") else _whole(members["cls"].decode().strip())


def _whole(value) -> int:
    """Returns a class index; raises ValueError or TypeError where the value is not a whole number of 32 bits."""
    index = int(value)
    if index != float(value) or not 0 <= index < 2**31:
        raise ValueError(f"{value!r} is not a class index")
    return index


def read_image_files(shard: Shard, fields: Fields) -> Samples:
    """Reads a group of image files; ids are paths relative to the group's folder, without extension."""

    def read(member: str) -> Sample | BadSample:
        uri, image_id = store.join(shard.uri, member), member.rpartition(".")[0]
        try:
            with store.open_read(uri) as file:
                encoded = file.read(MAX_ENCODED_BYTES + 1)
        except OSError as error:
            return BadSample(image_id, uri, ErrorType.UNREADABLE, f"{type(error).__name__}: {error}")
        if len(encoded) > MAX_ENCODED_BYTES:
            return BadSample(image_id, uri, ErrorType.TOO_MANY_BYTES, f"more than {MAX_ENCODED_BYTES} bytes")
        return Sample(image_id, uri, encoded)

    return map_ahead(read, shard.members, _FILES_AHEAD, thread_pool("read"))


READERS: dict[str, Callable[[Shard, Fields], Samples]] = {
    "webdataset": read_webdataset,
    "images": read_image_files,
}
