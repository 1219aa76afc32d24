"""Image files, grouped into virtual shards by the plan. A label may lie beside an image, in a file of the same name."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Set
from dataclasses import replace

from transforms.read import limits, samples
from transforms.read.fields import USUAL_FIELDS, Fields
from transforms.read.formats.format import Format
from transforms.read.formats.webdataset import label_extension, label_in
from transforms.read.samples import IMAGE_EXTENSIONS, BadSample, Samples
from transforms.records import ErrorType, Sample, Shard
from transforms.store import files as store
from transforms.worker.threads import map_ahead, thread_pool

_LABEL_SUFFIXES = (".cls", ".json")
_FILES_AHEAD = 64  # of a shard that are read before they are asked for, at most
AHEAD_BYTES = 64 * limits.MIB  # of those files together, at most; a larger file is read ahead alone
SMALL_BYTES = limits.MIB  # of a file on a store that are read ahead at least; its size is not known


def images_of(shard: Shard) -> list[str]:
    """Returns the image files of a group, without those that hold labels."""
    return [member for member in shard.members if not member.endswith(_LABEL_SUFFIXES)]


def with_labels(shard: Shard, others: Set[str], fields: Fields) -> Shard:
    """Returns a group of image files, each followed by the one of the other files that holds its label, if one does.

    That is the file of the same name ending in `.cls`, or in `.json` where a field of it is asked for.
    """
    members = []
    for image in images_of(shard):
        label = f"{_stem(image)}.{label_extension(fields)}"
        members += [image, label] if store.join(shard.uri, label) in others else [image]
    return replace(shard, members=tuple(members))


def read_image_files(shard: Shard, fields: Fields = USUAL_FIELDS, ignored: Counter[str] | None = None) -> Samples:
    """Reads a group of image files; ids are paths relative to the group's folder, without extension."""
    labels = {_stem(member): member for member in shard.members if member.endswith(_LABEL_SUFFIXES)}
    images = images_of(shard)

    def read(member: str, limit: int) -> Sample | BadSample | None:
        """Returns the sample; None where the file is larger than the limit."""
        image_id, uri = _stem(member), store.join(shard.uri, member)
        try:
            encoded = _read(uri, limit)
            label_file = labels.get(image_id)
            label_bytes = _read(store.join(shard.uri, label_file), limits.MAX_LABEL_BYTES) if label_file else None
        except OSError as error:
            # a store that refuses does so for the account, not for the image
            refused = isinstance(error, PermissionError | IsADirectoryError) and store.is_local(uri)
            if not (store.is_missing(error) or refused):
                raise  # the store or the disk failed: the image may be read later
            return BadSample(image_id, uri, ErrorType.UNREADABLE, f"{type(error).__name__}: {error}")
        if encoded is None:
            return None
        try:
            if label_file and label_bytes is None:
                raise samples.LabelError(f"more than {limits.MAX_LABEL_BYTES} bytes")
            label = label_in(label_bytes, fields)
        except Exception as error:  # whatever a parser makes of what a stranger wrote
            return BadSample(image_id, uri, ErrorType.BAD_LABEL, f"{type(error).__name__}: {error}")
        return Sample(image_id, uri, encoded, label)

    ahead = map_ahead(
        lambda limited: read(*limited),
        ((member, _limit_ahead(shard, member)) for member in images),
        thread_pool("read"),
        AHEAD_BYTES,
        cost=lambda limited: max(limited[1], AHEAD_BYTES // _FILES_AHEAD),
    )
    for member, sample in zip(images, ahead, strict=True):
        sample = sample or read(member, limits.MAX_ENCODED_BYTES)
        yield sample or samples.too_large(_stem(member), store.join(shard.uri, member))


def _limit_ahead(shard: Shard, member: str) -> int:
    """Returns how many bytes of an image file may be read ahead; one that has more is read when its turn comes.

    That is its size. A store would have to be asked for it: there it is twice the mean size of the shard's files.
    """
    if not store.is_local(shard.uri):
        return min(max(SMALL_BYTES, 2 * shard.num_bytes // len(shard.members)), limits.MAX_ENCODED_BYTES)
    try:
        size = os.path.getsize(store.join(shard.uri, member))
    except OSError:
        return 0  # reading it will say why
    return size if size <= limits.MAX_ENCODED_BYTES else 0


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


def _read(uri: str, limit: int) -> bytes | None:
    """Returns a file's bytes; None where there are more than the limit."""
    with store.open_read(uri) as file:
        content = file.read(limit + 1)
    return None if len(content) > limit else content


FORMAT = Format(
    "images",
    read_image_files,
    re.compile(rf"\.({'|'.join(sorted(IMAGE_EXTENSIONS))})$"),
    starts=samples.is_image,
    grouped=True,
)
