"""WebDataset: tar files in which the members of a sample follow each other and share their name up to the first dot."""

import json
import re
from collections import Counter
from typing import NamedTuple

from transforms.read import limits, samples
from transforms.read.fields import USUAL_FIELDS, Fields
from transforms.read.formats.format import Format
from transforms.read.formats.tar import FOLDER, Gap, Member, TarStream
from transforms.read.samples import IMAGE_EXTENSIONS, BadSample, Samples
from transforms.records import ErrorType, Sample, Shard
from transforms.store import files as store

# key up to the base name's first dot, extension; a name that begins with a dot is no sample's
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)(?:\.([^/]+))?", re.DOTALL)


class Unread(NamedTuple):
    """What stands in for the content of a member that was not read."""

    error_type: ErrorType
    reason: str


Members = dict[str, bytes | Unread]  # of a sample: content by extension, empty where it is not needed


def read_webdataset(shard: Shard, fields: Fields = USUAL_FIELDS, ignored: Counter[str] | None = None) -> Samples:
    """Reads the samples of a tar file.

    The tar is streamed, packed with gzip or not, and never sought in. Members that are neither image nor label are
    passed over, and counted as `members_ignored`; of a sample without an image, those that are images by what is in
    them are taken. Links are not followed: an image that is one is a bad sample.

    What comes before a damaged place is kept. So is an image whose sample is cut there; where its label was not read
    yet it has none, and the bad sample that stands for the rest of the shard says whose label that is.
    """
    reader = _Reader(shard.uri, fields, Counter() if ignored is None else ignored)
    with store.open_read(shard.uri) as file:
        try:
            yield from reader.samples(TarStream(samples.unpacked(file)))
        except Exception as error:  # whatever comes of bytes that a stranger wrote
            yield samples.damaged(shard.uri, error)


class _Reader:
    """Groups the members of a tar file to samples."""

    def __init__(self, uri: str, fields: Fields, ignored: Counter[str]):
        self._uri, self._fields, self._ignored = uri, fields, ignored
        self._start(None)

    def _start(self, key: str | None) -> None:
        self._key, self._members, self._room = key, Members(), limits.MAX_ENCODED_BYTES
        self._guessed: Members = {}  # images by their content, whose extension nobody knows

    def samples(self, tar: TarStream) -> Samples:
        """Yields the samples of a tar file."""
        try:
            for member in tar:
                if isinstance(member, Gap):
                    message = "; ".join([member.message, *self._lost_label()])
                    yield from self._finish()
                    yield BadSample("", self._uri, ErrorType.DAMAGED_SHARD, message)
                else:
                    yield from self._add(tar, member)
        except Exception as error:
            # the unread part of a cut sample may have held an image: a sample without one is not rejected for that
            if self._has_image():
                for note in self._lost_label():
                    error.add_note(note)
                yield from self._finish()
            raise
        yield from self._finish()

    def _add(self, tar: TarStream, member: Member) -> Samples:
        """Reads a member into its sample; yields what the sample before it makes, where it is another one."""
        name = _NAME.fullmatch(member.name)
        key, extension = (name[1], name[2] or "") if name else ("", "")
        is_known = _is_image(extension, self._fields) or extension == label_extension(self._fields)
        head = b"" if is_known or member.about or name is None else self._image_head(tar)
        if name is None or member.about == FOLDER or not (is_known or head or (extension and not member.about)):
            self._ignored["members_ignored"] += member.about != FOLDER
            return
        if key != self._key or extension in self._members or len(self._members) >= limits.MAX_SAMPLE_MEMBERS:
            yield from self._finish()
            self._start(key)
        if is_known:
            self._members[extension] = self._content(tar, member, extension)
            return
        self._ignored["members_ignored"] += 1
        self._members[extension] = b""
        if head and not self._has_image() and member.size <= self._room:
            self._guessed[extension] = head + tar.read()
            self._room -= member.size

    def _image_head(self, tar: TarStream) -> bytes:
        """Returns the first bytes of the current member where they say that it is an image, else none."""
        head = b"" if self._fields.image_field else tar.read(samples.IMAGE_HEAD_BYTES)
        return head if samples.is_image(head) else b""

    def _has_image(self) -> bool:
        return any(_is_image(extension, self._fields) for extension in self._members)

    def _lost_label(self) -> list[str]:
        """Returns a note that the label of the current sample may be lost; none where it can't be."""
        lost = self._key is not None and self._has_image() and label_extension(self._fields) not in self._members
        return [f"the label of {self._key!r}, if it had one, is lost"] if lost else []

    def _content(self, tar: TarStream, member: Member, extension: str) -> bytes | Unread:
        if _is_image(extension, self._fields):
            self._room, self._guessed = self._room + sum(map(len, self._guessed.values())), {}  # not needed now
            room = self._room
        else:
            room = min(self._room, limits.MAX_LABEL_BYTES)
        if member.about:
            return Unread(ErrorType.NO_IMAGE, member.about)
        if member.size > room:
            return Unread(ErrorType.TOO_MANY_BYTES, f"{member.size} bytes, of {room} that may be read")
        self._room -= member.size
        return tar.read()

    def _finish(self) -> Samples:
        """Yields the samples that the members of a key make; none where nothing in them is known."""
        key, members, guessed = self._key, self._members, self._guessed
        self._start(None)
        if key is None:
            return
        self._ignored["members_ignored"] -= len(guessed)
        members |= guessed
        images = [extension for extension in members if extension in guessed or _is_image(extension, self._fields)]
        if not images:
            message = f"no image among the members {sorted(members)[:20]}"
            yield BadSample(key, self._uri, ErrorType.NO_IMAGE, message)
        for extension in images:
            name = f"{key}.{extension}" if extension else key
            image_id = key if len(images) == 1 else name.rpartition(".")[0] or name
            yield self._sample(image_id, f"{self._uri}#{name}", members[extension], members)

    def _sample(self, image_id: str, uri: str, encoded: bytes | Unread, members: Members) -> Sample | BadSample:
        if isinstance(encoded, Unread):
            return BadSample(image_id, uri, encoded.error_type, encoded.reason)
        try:
            label = members.get(label_extension(self._fields))
            if isinstance(label, Unread):
                raise samples.LabelError(label.reason)
            return Sample(image_id, uri, encoded, label_in(label, self._fields))
        except Exception as error:  # whatever a parser makes of what a stranger wrote
            return BadSample(image_id, uri, ErrorType.BAD_LABEL, f"{type(error).__name__}: {error}")


def label_extension(fields: Fields) -> str:
    """Returns the extension of the member or file that holds a label."""
    return "cls" if fields.label_field is None else "json"


def _is_image(extension: str, fields: Fields) -> bool:
    if fields.image_field:
        return extension == fields.image_field
    return extension.lower().rpartition(".")[2] in IMAGE_EXTENSIONS


def label_in(content: bytes | None, fields: Fields) -> int | None:
    """Returns the label that a `.cls` holds, or a `.json` in the field asked for; None where there is none.

    Raises:
      ValueError, TypeError, KeyError, RecursionError: it is not a class index, not JSON, or without that field.
    """
    if not content:
        return None
    field = fields.label_field
    return samples.class_index(content.decode().strip() if field is None else json.loads(content)[field])


def _starts_tar(head: bytes) -> bool:
    return samples.unpacked_head(head)[257:262] == b"ustar"


FORMAT = Format("webdataset", read_webdataset, re.compile(r"\.(tar|tar\.gz|tgz)$"), _starts_tar)
