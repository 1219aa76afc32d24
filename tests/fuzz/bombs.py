"""Small inputs that ask for much memory or time: each in a process of its own, with what it took.

python -m tests.fuzz.bombs
"""

import gzip
import io
import json
import multiprocessing
import pathlib
import resource
import struct
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from tests.factories import jpeg
from tests.fuzz.mutations import field
from tests.fuzz.run import outcomes
from tests.shard_writers import record, shard_of
from transforms.read.fields import Fields
from transforms.read.formats import FORMATS
from transforms.records import Sample

MAX_MIB, MAX_SECONDS = 512, 10


def _tar(*members: tuple[str, bytes], format: int = tarfile.GNU_FORMAT, **changes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def one_key_of_many_members() -> tuple[str, bytes]:
    """9,000 members of one key, each with a name of a megabyte."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        for number in range(9000):
            name = f"x.{number}{'y' * 1_000_000}".encode()
            info = tarfile.TarInfo("x")
            info.type, info.size = tarfile.GNUTYPE_LONGNAME, len(name)
            file.write(info.tobuf(tarfile.GNU_FORMAT) + name + bytes(-len(name) % 512))
            file.write(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
        file.write(bytes(1024))
    return "webdataset", packed.getvalue()


def many_global_headers() -> tuple[str, bytes]:
    """3,000 PAX headers for all members."""
    body = b"".join(b"%d k%d=%s\n" % (1012, number, b"v" * 1000) for number in range(1000, 1900))
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XGLTYPE, len(body)
    header = info.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512)
    return "webdataset", gzip.compress((header + _tar(("a.jpg", jpeg()))[:2048]) * 3000 + bytes(1024), 1)


def large_label() -> tuple[str, bytes]:
    """A label JSON of 64 MB."""
    text = json.dumps({"n": [{}] * 16_000_000}).encode()
    return "webdataset", gzip.compress(_tar(("a.jpg", jpeg()), ("a.json", text)), 1)


def sparse_map() -> tuple[str, bytes]:
    """The map of a GNU sparse file, without end."""
    header = bytearray(_tar(("a.jpg", b""), type=tarfile.GNUTYPE_SPARSE)[:512])
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    block = (b"%011o\0" % 7) * 42
    return "webdataset", gzip.compress(bytes(header) + (block + b"\1" + bytes(7)) * 400_000, 1)


def empty_features() -> tuple[str, bytes]:
    """A record of 127 million features without a name."""
    return "tfrecord", gzip.compress(record(field(1, b"\n\0" * 127_000_000)), 1)


def list_of_structs() -> tuple[str, bytes]:
    """A label that is a list of 20 million structs."""
    values = pa.StructArray.from_arrays([pa.nulls(20_000_000, pa.int64())], ["a"])
    labels = pa.ListArray.from_arrays(pa.array([0, 20_000_000], pa.int32()), values)
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": [jpeg()], "label": labels}), buffer, compression="zstd")
    return "parquet", buffer.getvalue()


def alpha_webp() -> tuple[str, bytes]:
    """A WebP of one colour and 120 million pixels."""
    buffer = io.BytesIO()
    PIL.Image.new("RGBA", (16, 16), (1, 2, 3, 4)).save(buffer, "WEBP", lossless=True)
    data = bytearray(buffer.getvalue())
    at = data.index(b"VP8L") + 9
    size = 10_953 - 1
    bits = struct.unpack_from("<I", data, at)[0]
    data[at : at + 4] = struct.pack("<I", bits & ~0xFFFFFFF | size | size << 14)
    return "decode", bytes(data)


def avif() -> tuple[str, bytes]:
    """An AVIF of one colour and 100 million pixels."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (10_000, 10_000), (1, 2, 3)).save(buffer, "AVIF", speed=10)
    return "decode", buffer.getvalue()


def png() -> tuple[str, bytes]:
    """A PNG of one colour and 100 million pixels: a row, in bounded memory."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (10_000, 10_000), (1, 2, 3)).save(buffer, "PNG", compress_level=1)
    return "decode", buffer.getvalue()


def large_jpeg() -> tuple[str, bytes]:
    """A JPEG of 100 million pixels: a row."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (10_000, 10_000), (1, 2, 3)).save(buffer, "JPEG")
    return "decode", buffer.getvalue()


BOMBS: list[Callable[[], tuple[str, bytes]]] = [
    one_key_of_many_members,
    many_global_headers,
    large_label,
    sparse_map,
    empty_features,
    list_of_structs,
    alpha_webp,
    avif,
    png,
    large_jpeg,
]


def _read(format: str, path: str, pipe) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    if format == "decode":
        found = outcomes([Sample("x", "x", pathlib.Path(path).read_bytes())])
    else:
        fields = Fields(label_field="n") if path.endswith("large_label") else Fields()
        found = outcomes(FORMATS[format].read(shard_of(path, format), fields))
    seconds = time.perf_counter() - started
    pipe.send((found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, seconds))


def measure(bomb: Callable[[], tuple[str, bytes]]) -> tuple[int, Counter, float, float]:
    """Returns the bytes of a bomb, what it ends in, the MiB beyond those of the process before it, and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        format, content = bomb()
        path = pathlib.Path(folder, bomb.__name__)
        path.write_bytes(content)
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_read, args=(format, str(path), there))
        process.start()
        there.close()
        try:
            return (len(content), *here.recv())
        finally:
            process.join()


def main() -> None:
    """Measures and prints."""
    for bomb in BOMBS:
        size, found, mib, seconds = measure(bomb)
        counts = ", ".join(f"{count} {name}" for name, count in found.items())
        print(f"{bomb.__name__:24} {size:10} bytes  +{mib:5.0f} MiB {seconds:6.1f} s  {counts}", flush=True)


if __name__ == "__main__":
    main()
