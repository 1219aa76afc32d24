"""WebDataset: tar files in which the members of a sample follow each other and share their name up to the first dot."""

import json
import re
import tarfile
from collections.abc import Callable, Iterator

from transforms.read import samples
from transforms.read.samples import IMAGE_EXTENSIONS, USUAL_FIELDS, BadSample, Counts, Fields, Samples
from transforms.records import ErrorType, Sample, Shard
from transforms.store import files as store

_MEMBER_NAME = re.compile(
    r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL
)  # key up to the base name's first dot, extension
_MAX_HEADER_BYTES = 1024 * 1024  # of a long name or of PAX records, which tarfile reads into memory
_STREAM_BYTES = 256 * 1024
_EXTENDED_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_DAMAGES = (tarfile.TarError, *samples.DAMAGES)

Members = dict[str, bytes | str | None]  # content by extension; what a link points to; None where it is too large


def read_webdataset(shard: Shard, fields: Fields = USUAL_FIELDS, counts: Counts | None = None) -> Samples:
    """Reads the samples of a tar file.

    The tar is streamed, packed with gzip or not, and never sought in. Members that are neither image nor label are
    passed over unread, and counted as `members_ignored`. Links are not followed: an image that is one is a bad sample.

    What comes before a damaged place is kept. So is an image whose sample is cut there; where its label was not read
    yet it has none, and the bad sample that stands for the rest of the shard says whose label that is.
    """
    counts = Counts() if counts is None else counts
    with store.open_read(shard.uri) as file:
        try:
            with tarfile.open(
                fileobj=samples.unpacked(file),
                mode="r|",
                bufsize=_STREAM_BYTES,
                tarinfo=_StrictTarInfo,
                errors="backslashreplace",  # a name need not be UTF-8, a row's text must
            ) as tar:
                for key, members in _group_members(tar, fields, counts):
                    yield from _samples(shard.uri, key, members, fields)
        except _DAMAGES as error:
            yield samples.damaged(shard.uri, error)


class _StrictTarInfo(tarfile.TarInfo):
    """Raises where tarfile would take a damaged header, or the lack of one, for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar):
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {tar.offset}") from error

    def _proc_member(self, tar):  # tarfile's hook for the kinds of headers
        if self.type in _EXTENDED_HEADERS and self.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes at byte {self.offset}")
        return super()._proc_member(tar)  # type: ignore[misc]


def _group_members(tar: tarfile.TarFile, fields: Fields, counts: Counts) -> Iterator[tuple[str, Members]]:
    """Yields (key, members) of each sample."""
    is_wanted = _wanted(fields)
    current: str | None = None
    members: Members = {}
    room = samples.MAX_ENCODED_BYTES
    try:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would remember every member of the archive
            name = _MEMBER_NAME.fullmatch(member.name)
            is_link = member.islnk() or member.issym()
            if name is None or not (member.isfile() or (is_link and is_wanted(name[2]))):
                counts["members_ignored"] += member.isfile() or is_link
                continue
            key, extension = name.groups()
            if key != current or extension in members:
                if current is not None:
                    yield current, members
                current, members, room = key, {}, samples.MAX_ENCODED_BYTES
            if is_link:
                members[extension] = member.linkname
            elif is_wanted(extension):
                content = tar.extractfile(member)
                members[extension] = content.read() if content and member.size <= room else None
                room -= len(members[extension] or b"")
            else:
                members[extension] = b""
                counts["members_ignored"] += 1
    except _DAMAGES as error:
        # of the sample that is cut, what was not read may have been there: that it has no image can't be said
        if current is not None and any(_is_image(extension, fields) for extension in members):
            if _label_extension(fields) not in members:
                error.add_note(f"the label of {current!r}, if it had one, is lost")
            yield current, members
        raise
    if current is not None:
        yield current, members


def _wanted(fields: Fields) -> Callable[[str], bool]:
    """Returns what tells whether a member is read."""
    label = _label_extension(fields)
    return lambda extension: extension == label or _is_image(extension, fields)


def _label_extension(fields: Fields) -> str:
    return "cls" if fields.label is None else "json"


def _is_image(extension: str, fields: Fields) -> bool:
    if fields.image:
        return extension == fields.image
    return extension.lower().rpartition(".")[2] in IMAGE_EXTENSIONS


def _samples(uri: str, key: str, members: Members, fields: Fields) -> Samples:
    images = [extension for extension in members if _is_image(extension, fields)]
    if not images:
        yield BadSample(key, uri, ErrorType.NO_IMAGE, f"no image among the members {sorted(members)[:20]}")
    for extension in images:
        image_id = key if len(images) == 1 else f"{key}.{extension}".rpartition(".")[0]
        member_uri, encoded = f"{uri}#{key}.{extension}", members[extension]
        if encoded is None:
            yield samples.too_large(image_id, member_uri)
            continue
        if isinstance(encoded, str):
            yield BadSample(image_id, member_uri, ErrorType.NO_IMAGE, _about_link(encoded))
            continue
        try:
            yield Sample(image_id, member_uri, encoded, label_of(members, fields))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            yield BadSample(image_id, member_uri, ErrorType.BAD_LABEL, f"{type(error).__name__}: {error}")


def label_of(members: Members, fields: Fields) -> int | None:
    """Returns the label that a sample's `.cls` holds, or its `.json` in the field asked for; None where it has none.

    Raises:
      ValueError, TypeError, KeyError, RecursionError: it is not a class index, not JSON, without that field, or a link.
    """
    content = members.get(_label_extension(fields))
    if isinstance(content, str):
        raise samples.LabelError(_about_link(content))
    if not content:
        return None
    return samples.class_index(content.decode().strip() if fields.label is None else json.loads(content)[fields.label])


def _about_link(target: str) -> str:
    return f"a link to {target!r}, and links are not followed"
