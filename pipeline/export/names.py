"""Safe and unique file names for images, made from ids that anybody may have written."""

import hashlib
import re
from collections.abc import Iterable

import numpy as np

_UNSAFE = re.compile(r"[^\w.+=,@() -]|^\.+$|^[ .]+|[ .]+$")  # in one part of a path; ~ is kept for `Names`
_MAX_PART_BYTES, _MAX_BYTES = 100, 400


def safe_name(image_id: str, flat: bool = False, dots: bool = True) -> str:
    """Returns a relative path without extension that stays in its folder on any system, however odd the id is.

    Args:
      flat: gives one part: the folders of an id are joined to it with "__".
      dots: keeps the dots of the last part; some formats end a name at the first.
    """
    parts = [_UNSAFE.sub("_", part) for part in image_id.split("/") if part not in ("", ".")] or ["_"]
    if flat:
        parts = ["__".join(parts)]
    if not dots:
        parts[-1] = parts[-1].replace(".", "_")
    parts = [_shorten(part, _MAX_PART_BYTES) for part in parts]
    return "/".join(parts) if len("/".join(parts).encode()) <= _MAX_BYTES else parts[-1]


def _shorten(part: str, num_bytes: int) -> str:
    return part.encode()[-num_bytes:].decode(errors="ignore") if len(part.encode()) > num_bytes else part


class Names:
    """The names of all images of an output: each is named after its id if no other gets the same name.

    Otherwise (shards that repeat ids, names that differ only in case or in unsafe characters) all that share a name are
    called `<name>~<shard_id>~<index_in_shard>`. So a name depends on the output, not on what is selected from it.
    Needs eight bytes of memory per image while it is built.
    """

    def __init__(self, image_ids: Iterable[list[str]], flat: bool = False, dots: bool = True):
        self._flat, self._dots = flat, dots
        chunks = [np.array([_hash(self._plain(image_id)) for image_id in ids], np.uint64) for ids in image_ids]
        hashes = np.sort(np.concatenate([*chunks, np.empty(0, np.uint64)]))
        self._ambiguous = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())

    def __call__(self, image_id: str, shard_id: str, index_in_shard: int) -> str:
        """Returns the name of an image, without extension."""
        name = self._plain(image_id)
        return f"{name}~{shard_id}~{index_in_shard}" if _hash(name) in self._ambiguous else name

    def _plain(self, image_id: str) -> str:
        return safe_name(image_id, self._flat, self._dots)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.casefold().encode(), digest_size=8).digest())
