"""Shards with one lie in a header or a footer and checksums that are right, and which images no lie has touched."""

import io
import random
import struct
import tarfile
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tests.factories import jpeg
from tests.fuzz.mutations import example
from tests.shard_writers import record
from transforms.read.samples import BadSample
from transforms.records import ErrorType

IMAGES = [jpeg(number, 24) for number in range(6)]
_NUMBERS = (0, 1, 511, 512, 513, 1024, 3000, 2**20, 2**31, 2**33 - 1, 2**60, 2**63, 2**64 - 1)
_BLOCK = 512


class Lie(NamedTuple):
    """A damaged shard.

    Attributes:
      before: images that end before the first changed byte.
      behind: images behind it that are whole still.
    """

    format: str
    what: str
    content: bytes
    before: list[bytes]
    behind: list[bytes]


def nth_lie(number: int) -> Lie:
    """Returns lie `number`: the same in every run."""
    rng = random.Random(f"lie {number}")
    return rng.choice((_tar_lie, _tar_lie, _tfrecord_lie, _parquet_lie))(rng)


def lost(lie: Lie, found: list) -> list[int]:
    """Returns which images are lost without a word, given the samples and bad samples that a reader found."""
    rows = [sample.encoded for sample in found if not isinstance(sample, BadSample)]
    said = any(isinstance(bad, BadSample) and bad.error_type == ErrorType.DAMAGED_SHARD for bad in found)
    named = {bad.image_id for bad in found if isinstance(bad, BadSample)}
    missing = [image for image in lie.before if image not in rows]
    missing += [image for image in lie.behind if image not in rows and not said]
    return [number for number in map(IMAGES.index, missing) if f"{number:06d}" not in named]


def _parted(spans: list[tuple[int, int]], first: int, last: int) -> tuple[list[bytes], list[bytes]]:
    """Returns the images whose samples end before the changed bytes, and those whose samples begin behind them."""
    before = [image for image, (_, end) in zip(IMAGES, spans, strict=True) if end <= first]
    behind = [image for image, (begin, _) in zip(IMAGES, spans, strict=True) if begin >= last]
    return before, behind


def _tar() -> tuple[bytes, list[tuple[int, int]]]:
    buffer, spans = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number, image in enumerate(IMAGES):
            begin = buffer.tell()
            for name, content in ((f"{number:06d}.jpg", image), (f"{number:06d}.cls", b"%d" % number)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            spans.append((begin, buffer.tell()))
    return buffer.getvalue(), spans


def _tar_lie(rng: random.Random) -> Lie:
    content, spans = _tar()
    at = rng.choice([begin for begin, _ in spans] + [end - 2 * _BLOCK for _, end in spans])  # of an image, of a label
    kind = rng.choice(("size", "type", "field", "pax", "global", "gnu", "zeros", "tail", "cat", "cut"))
    data, last = bytearray(content), at + _BLOCK
    if kind == "size":
        data[at + 124 : at + 136] = _octal(rng.choice((*_NUMBERS, rng.randrange(4000))))
    elif kind == "type":
        data[at + 156] = rng.choice(b"01234567ADKLMNSVXgx\0\xff")
    elif kind == "field":
        place = at + rng.randrange(_BLOCK)
        changed = rng.randbytes(rng.choice((1, 2, 8)))[: at + _BLOCK - place]
        data[place : place + len(changed)] = changed
    elif kind in ("pax", "global", "gnu"):
        data[at:at] = _extension(rng, {"pax": b"x", "global": b"g", "gnu": rng.choice((b"L", b"K"))}[kind])
    elif kind in ("zeros", "tail"):
        begin = rng.choice((at, at + _BLOCK, at + 700))
        last = len(data) if kind == "tail" else rng.choice([b for b, _ in spans if b > begin] or [len(data)])
        data[begin:last] = bytes(last - begin)
        at = begin
    elif kind == "cat":
        data += content
        at = last = len(content)
    else:
        at = rng.randrange(at, len(data))
        del data[at:]
        last = len(content)
    if kind in ("size", "type", "field"):
        _sign(data, at)
    before, behind = _parted(spans, at, last)
    if kind == "cat":
        behind = list(IMAGES)
    # what is zeros up to the end within the last record of 10,240 bytes, and not more of it, is no other than padding
    if kind == "tail" and len(content) - at <= 10_240 + _BLOCK:
        behind = []
    return Lie("webdataset", kind, bytes(data), before, behind)


def _extension(rng: random.Random, kind: bytes) -> bytes:
    """A header that says something of the next member, or of all."""
    if kind in b"LK":
        text = rng.randbytes(rng.choice((0, 1, 99, 600)))
    else:
        key = rng.choice(("path", "size", "linkpath", "mtime", "GNU.sparse.map", "GNU.sparse.name", "hdrcharset", "x"))
        value = rng.choice((*map(str, _NUMBERS), "-1", "", "a/b.jpg", "é" * 50, "0,1," * 300))
        body = f" {key}={value}\n".encode()
        text = b"%d" % rng.choice((len(body) + len(str(len(body) + 3)), 0, 5, 10**9)) + body
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, rng.choice((len(text), len(text), 0, 2**20, 2**33 - 1))
    return info.tobuf(tarfile.GNU_FORMAT) + text + bytes(-len(text) % _BLOCK)


def _octal(number: int) -> bytes:
    return b"%011o\0" % number if number < 8**11 else b"\x80" + number.to_bytes(11)


def _sign(data: bytearray, at: int) -> None:
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + _BLOCK])


def _tfrecord_lie(rng: random.Random) -> Lie:
    records = [record(example(image, number)) for number, image in enumerate(IMAGES)]
    chosen = rng.randrange(len(records))
    data = example(IMAGES[chosen], chosen)
    kind = rng.choice(("length", "data", "zeros", "insert"))
    if kind == "length":
        length = struct.pack("<Q", rng.choice(_NUMBERS) % 2**64)
        changed = length + record(length)[-4:] + records[chosen][12:]  # the checksum of these eight bytes
    elif kind == "data":
        place = rng.randrange(min(len(data), 80))
        changed = record(data[:place] + rng.randbytes(rng.choice((1, 2, 9))) + data[place + 1 :])
    elif kind == "zeros":
        changed = bytes(len(records[chosen]))
    else:
        changed = record(rng.randbytes(rng.choice((0, 1, 40)))) + records[chosen]
    content = b"".join([*records[:chosen], changed, *records[chosen + 1 :]])
    return Lie("tfrecord", kind, content, IMAGES[:chosen], IMAGES[chosen + 1 :])


def _parquet_lie(rng: random.Random) -> Lie:
    buffer = io.BytesIO()
    table = pa.table({"image": IMAGES, "label": list(range(len(IMAGES)))})
    codec = rng.choice(("none", "zstd"))
    pq.write_table(table, buffer, compression=codec, row_group_size=2, use_dictionary=False, write_page_checksum=True)
    data = bytearray(buffer.getvalue())
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(begin, len(data) - 4)
        if rng.random() < 0.5:
            data[place] ^= 1 << rng.randrange(8)
        else:
            data[place] = rng.randrange(256)
    return Lie("parquet", "footer", bytes(data), [], list(IMAGES))
