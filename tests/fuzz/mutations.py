"""Small files of every kind that cambeam reads, and ways to damage them."""

import gzip
import io
import pathlib
import random
import struct
import tarfile
import tempfile
import zlib
from typing import NamedTuple

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from tests import shard_writers

_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Seed(NamedTuple):
    """A whole file: `target` is "decode" or the format of a reader."""

    name: str
    target: str
    content: bytes


def seeds() -> list[Seed]:
    """Returns images in every format and mode, and a shard of every kind."""
    images = _images()
    jpeg, png = images["rgb.jpeg"], images["rgba.png"]
    samples = [("a/x.jpg", jpeg), ("a/x.cls", b"3"), ("a/y.png", png), ("a/y.json", b'{"label": 4}'), ("a/y.txt", b"y")]
    tar, packed = _tar(samples), gzip.compress(_tar(samples))
    records = b"".join(shard_writers.record(data) for data in (example(jpeg, 3), example(png, 4)))
    found = [Seed(name, "decode", content) for name, content in images.items()]
    found += [Seed("a.tar", "webdataset", tar), Seed("a.tar.gz", "webdataset", packed)]
    found += [Seed("a.tfrecord", "tfrecord", records), Seed("a.tfrecord.gz", "tfrecord", gzip.compress(records))]
    for codec in ("none", "zstd", "gzip"):
        found.append(Seed(f"{codec}.parquet", "parquet", _parquet([jpeg, png, jpeg], codec)))
    return found


def _images() -> dict[str, bytes]:
    rgb = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)).resize((33, 27))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    deep = PIL.Image.fromarray((np.arange(600).reshape(20, 30) * 100).astype(np.uint16))
    variants = {
        "rgb.jpeg": (rgb, {"exif": exif, "icc_profile": bytes(200)}),
        "progressive.jpeg": (rgb, {"progressive": True}),
        "grey.jpeg": (rgb.convert("L"), {}),
        "cmyk.jpeg": (rgb.convert("CMYK"), {}),
        "rgb.png": (rgb, {"exif": exif, "icc_profile": bytes(200)}),
        "rgba.png": (rgb.convert("RGBA"), {}),
        "palette.png": (rgb.quantize(8), {"transparency": 3}),
        "deep.png": (deep, {}),
        "animated.gif": (rgb.quantize(8), {"save_all": True, "append_images": [rgb.quantize(4)]}),
        "rgb.webp": (rgb, {"exif": exif}),
        "animated.webp": (rgb.convert("RGBA"), {"save_all": True, "append_images": [rgb.convert("RGBA")]}),
        "rgb.bmp": (rgb, {}),
        "palette.bmp": (rgb.quantize(8), {}),
        "rgb.avif": (rgb, {"exif": exif}),
    }
    found = {}
    for name, (image, options) in variants.items():
        buffer = io.BytesIO()
        image.save(buffer, name.rpartition(".")[2], **options)
        found[name] = buffer.getvalue()
    return found


def example(encoded: bytes, label: int) -> bytes:
    """A serialised tf.train.Example."""
    image = field(1, field(1, encoded))  # a feature of a list of bytes
    number = field(3, field(1, varint(label % 2**64)))  # of a list of packed numbers
    features = {"image/encoded": image, "image/class/label": number}
    return field(1, b"".join(field(1, field(1, name.encode()) + field(2, value)) for name, value in features.items()))


def field(number: int, content: bytes) -> bytes:
    """A field of bytes of a protocol buffer."""
    return bytes([8 * number + 2]) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A number of variable length of a protocol buffer."""
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def _tar(members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _parquet(images: list[bytes], codec: str) -> bytes:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": content, "path": f"{i}.jpg"} for i, content in enumerate(images)], kind)
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": column, "label": [1, 2, 3]}), buffer, compression=codec, row_group_size=2)
    return buffer.getvalue()


def mutate(seed: Seed, rng: random.Random) -> bytes:
    """Damages a seed in one to eight places; half the time its checksums are right again afterwards."""
    if seed.name == "a.tfrecord" and rng.random() < 0.5:
        data = example(*rng.choice([(b"\xff\xd8\xff\xe0", 3), (b"", -5), (bytes(300), 2**40)]))
        return shard_writers.record(_damage(data, rng)) + seed.content
    if seed.name == "a.tar.gz" and rng.random() < 0.5:
        return gzip.compress(_repair_tar(_damage(gzip.decompress(seed.content), rng)), 1)
    content = _damage(seed.content, rng)
    if rng.random() < 0.5:
        if seed.name.endswith(".png"):
            return _repair_png(content)
        if seed.name == "a.tar":
            return _repair_tar(content)
    return content


def _damage(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        if not data:
            break
        # headers are where the numbers are that decide most: look there as often as anywhere else
        at = rng.randrange(min(len(data), 600)) if rng.random() < 0.5 else rng.randrange(len(data))
        match rng.randrange(8):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2:
                order = rng.choice("<>")
                data[at : at + 4] = struct.pack(f"{order}I", rng.choice(_EDGES))
            case 3:
                data[at : at + 2] = struct.pack(">H", rng.choice(_EDGES) & 0xFFFF)
            case 4:
                del data[at : at + rng.choice((1, 4, 64, 512))]
            case 5:
                data[at:at] = data[at : at + rng.choice((1, 4, 64, 512))]
            case 6:
                data[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
            case 7:
                del data[at:]
    return bytes(data)


def _repair_png(content: bytes) -> bytes:
    data, at = bytearray(content), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(data)


def _repair_tar(content: bytes) -> bytes:
    data = bytearray(content)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


def with_file(seed: Seed, content: bytes, use):
    """Calls `use` with the path of a file of the content."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None) as folder:
        path = pathlib.Path(folder, seed.name)
        path.write_bytes(content)
        return use(path)
