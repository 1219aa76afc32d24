"""Images and shards that mean harm, or look as if: each is a row or a reject of a stable type, in bounded memory."""

import gzip
import io
import random
import struct
import tarfile
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutate, seeds
from tests.fuzz.run import try_content, try_lie
from tests.shard_writers import photos, shard_of
from transforms.read.batches import Decoder, read_batches
from transforms.read.decode import ImageError, decode
from transforms.read.formats.webdataset import read_webdataset
from transforms.records import ErrorType, Sample
from transforms.store import files as store
from transforms.worker.threads import Budget

RGB = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)).resize((40, 30))


def encode(image=RGB, format="JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *before_pixels: bytes, rows: int | None = None) -> bytes:
    """A black grey PNG; with fewer rows of pixels than it says, if asked."""
    pixels = zlib.compress(bytes((1 + width) * (height if rows is None else rows)))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before_pixels) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    content = encode(PIL.Image.new("L", (side, side)), progressive=True)
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * count + b"\xff\xd9"


def turned(value: bytes, kind: int = 3, count: int = 1) -> bytes:
    """A JPEG whose EXIF holds the orientation as four bytes of a TIFF type: 2 text, 3 short, 4 long."""
    tag = struct.pack(">HHI", 0x0112, kind, count) + value.ljust(4, b"\0")
    return encode(exif=b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + tag + bytes(4))


BOMB = zlib.compress(bytes(300_000_000))
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
CASES = {
    "zero bytes": (b"", ErrorType.EMPTY),
    "one byte": (b"\xff", ErrorType.UNKNOWN_FORMAT),
    "text": (b"This is not an image.", ErrorType.UNKNOWN_FORMAT),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", ErrorType.UNKNOWN_FORMAT),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', ErrorType.UNKNOWN_FORMAT),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ErrorType.UNKNOWN_FORMAT),
    "tiff": (encode(format="TIFF"), ErrorType.UNKNOWN_FORMAT),
    "heic": (HEIC, ErrorType.UNKNOWN_FORMAT),
    "truncated jpeg": (encode()[:-40], ErrorType.TRUNCATED),
    "truncated png": (encode(format="PNG")[:-40], ErrorType.TRUNCATED),
    "png with too few rows, black for Pillow": (png(40, 30, rows=20), (40, 30)),
    "huge dimensions": (png(2**31 - 1, 2**31 - 1, rows=1), ErrorType.TOO_MANY_PIXELS),
    "decompression bomb": (png(20_000, 20_000, rows=1), ErrorType.TOO_MANY_PIXELS),
    "progressive bomb": (scans(3000, 300), ErrorType.TOO_MANY_PIXELS),
    "many scans of few pixels": (scans(30, 300), (30, 30)),
    "icc bomb": (png(4, 3, chunk(b"iCCP", b"x\0\0" + BOMB)), ErrorType.CORRUPT),
    "text bomb": (png(4, 3, chunk(b"zTXt", b"x\0\0" + BOMB)), ErrorType.CORRUPT),
    "icc nonsense": (encode(icc_profile=bytes(range(256))), (40, 30)),
    "avif": (encode(format="AVIF"), (40, 30)),
    "animated gif": (encode(format="GIF", save_all=True, append_images=[RGB.rotate(90)]), (40, 30)),
    "animated webp": (encode(format="WEBP", save_all=True, append_images=[RGB.rotate(90)]), (40, 30)),
    "cmyk": (encode(RGB.convert("CMYK")), (40, 30)),
    "16 bit": (encode(PIL.Image.fromarray(np.full((30, 40), 40_000, np.uint16)), "PNG"), (40, 30)),
    "palette, transparent": (encode(RGB.quantize(9), "PNG", transparency=bytes([0, 128])), (40, 30)),
    "grey, transparent": (encode(RGB.convert("LA"), "PNG"), (40, 30)),
    "bilevel": (encode(RGB.convert("1"), "PNG"), (40, 30)),
    "1x1": (encode(RGB.resize((1, 1))), (1, 1)),
    "1x10000": (encode(RGB.resize((1, 10_000))), (1, 10_000)),
    "10000x1": (encode(RGB.resize((10_000, 1)), "PNG"), (10_000, 1)),
    "EXIF that is none": (encode(exif=b"Exif\0\0nonsense"), (40, 30)),
    "EXIF orientation 99": (turned(b"\0\x63"), (40, 30)),
    "EXIF orientation of text": (turned(b"6", kind=2, count=2), (40, 30)),
    "EXIF of two orientations": (turned(b"\0\6\0\6", count=2), (30, 40)),
    "EXIF orientation 6": (turned(b"\0\6"), (30, 40)),
}


@pytest.mark.parametrize("name", CASES)
def test_each_is_a_row_or_a_reject(name):
    encoded, expected = CASES[name]
    started = time.process_time()
    try:
        image = decode(Sample("", "", encoded), np.empty((32, 32, 3), np.uint8), preview_px=32)
        outcome = image.width, image.height
    except ImageError as error:
        outcome = error.error_type
    assert outcome == expected
    assert time.process_time() - started < 5


def test_the_name_says_nothing_of_what_is_inside(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("x.jpg")
        content = encode(format="PNG")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    (batch,) = read_batches(None, read_webdataset(shard_of(tmp_path / "a.tar", "webdataset")), Decoder(32), 4)
    assert (batch.images[0].width, batch.rejects) == (40, [])


class _Generated(io.RawIOBase):
    """A file of parts that are bytes, or a number of zero bytes that are made as they are read."""

    def __init__(self, *parts):
        self._parts = list(parts)

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self._parts:
            return 0
        part, size = self._parts.pop(0), len(buffer)
        if isinstance(part, int):
            taken, left = bytes(min(size, part)), max(part - size, 0)
        else:
            taken, left = part[:size], part[size:]
        if left:
            self._parts.insert(0, left)
        buffer[: len(taken)] = taken
        return len(taken)


def test_a_member_of_two_gibibytes_is_passed_over(monkeypatch):
    size, photo = 2 * 1024**3, photos(1)[0].encoded

    def header(name, length):
        info = tarfile.TarInfo(name)
        info.size = length
        return info.tobuf(tarfile.GNU_FORMAT)

    padded = photo.ljust(-(-len(photo) // 512) * 512, b"\0")
    file = _Generated(header("x.jpg", size), size, header("y.jpg", len(photo)), padded, 1024)
    monkeypatch.setattr(store, "open_read", lambda uri: io.BufferedReader(file))
    tracemalloc.start()
    huge, good = read_webdataset(shard_of("a.tar", "webdataset"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (huge.image_id, huge.error_type) == ("x", ErrorType.TOO_MANY_BYTES)
    assert (good.image_id, good.encoded) == ("y", photo)
    assert peak < 8 * 1024**2


def test_a_packed_bomb_is_passed_over(tmp_path):
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("x.jpg")
        info.size = 300 * 1024**2
        tar.addfile(info, _Generated(info.size))
    (bad,) = read_webdataset(shard_of(tmp_path / "a.tar.gz", "webdataset"))
    assert bad.error_type == ErrorType.TOO_MANY_BYTES


def test_images_that_wait_for_a_decoder_take_bounded_memory(monkeypatch):
    """Of 2 shards of 40 images of 1 MB, no more than the 4 that are allowed for have been drawn but not decoded."""
    monkeypatch.setattr("transforms.read.batches.WAITING_BYTES", Budget(4_000_000))
    drawn, decoded, waiting = [], [], []

    def draw():
        for number in range(40):
            drawn.append(number)
            yield Sample(str(number), "", bytes(1_000_000))

    class Slow(Decoder):
        def __call__(self, sample, index_in_shard, pixels):
            waiting.append(len(drawn) - len(decoded))
            time.sleep(0.002)
            decoded.append(index_in_shard)
            return super().__call__(sample, index_in_shard, pixels)

    with ThreadPoolExecutor(2) as shards:
        reads = shards.map(lambda _: sum(batch.read for batch in read_batches(None, draw(), Slow(32), 32)), range(2))
        assert list(reads) == [40, 40]
    assert max(waiting) <= 6  # and of each shard the one that waits for room


ALL_SEEDS = seeds()


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(ALL_SEEDS), st.integers(0, 2**32))
def test_damaged_files_end_in_rows_and_rejects(seed, number):
    try_content(seed, mutate(seed, random.Random(number)))


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_no_lie_in_a_header_loses_whole_images(first):
    for number in range(first, first + 100):
        assert try_lie(number)[2] == [], f"lie {number}"


@pytest.mark.parametrize("seed", ALL_SEEDS, ids=lambda seed: seed.name)
def test_seeds_are_whole(seed):
    outcomes = try_content(seed, seed.content)
    assert set(outcomes) == {"row"}
