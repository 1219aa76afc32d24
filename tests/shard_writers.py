"""The same few photographs, written by the packages that people write shards with."""

import io
import pathlib
import struct
from typing import NamedTuple

import google_crc32c
import numpy as np
import PIL.Image

from transforms.records import Shard


class Photo(NamedTuple):
    key: str
    encoded: bytes
    label: int


def photos(count: int = 5) -> list[Photo]:
    """Smooth noise as JPEG, labelled 0, 1, 2, ..."""
    found = []
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
        buffer = io.BytesIO()
        PIL.Image.fromarray(coarse).resize((40, 30)).save(buffer, "JPEG")
        found.append(Photo(f"photo_{number:04d}", buffer.getvalue(), number))
    return found


def shard_of(path, format: str, members=()) -> Shard:
    return Shard(f"{pathlib.Path(path).stem}-0", str(path), format, "1@1", 1, tuple(members))


def write_webdataset(path, samples: list[Photo]) -> None:
    import webdataset

    with webdataset.TarWriter(str(path)) as writer:
        for photo in samples:
            writer.write({"__key__": photo.key, "jpg": photo.encoded, "cls": photo.label})


def write_tfrecord(path, samples: list[Photo], compression: str = "") -> None:
    """Writes the features of the usual ImageNet TFRecords with TensorFlow's own writer."""
    import tensorflow as tf

    def feature(value):
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for photo in samples:
            features = {
                "image/encoded": feature(photo.encoded),
                "image/class/label": feature(photo.label),
                "image/filename": feature(photo.key.encode()),
                "image/format": feature(b"JPEG"),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def write_parquet(path, samples: list[Photo]) -> None:
    """Writes an image dataset with Hugging Face's own writer."""
    import datasets

    columns = {
        "image": [{"bytes": photo.encoded, "path": f"{photo.key}.jpg"} for photo in samples],
        "label": [photo.label for photo in samples],
        "image_id": [photo.key for photo in samples],
    }
    features = datasets.Features(
        image=datasets.Image(), label=datasets.Value("int64"), image_id=datasets.Value("string")
    )
    datasets.Dataset.from_dict(columns, features=features).to_parquet(str(path))


def write_files(folder, samples: list[Photo]) -> None:
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for photo in samples:
        (folder / f"{photo.key}.jpg").write_bytes(photo.encoded)
        (folder / f"{photo.key}.cls").write_text(str(photo.label))


def record(data: bytes) -> bytes:
    """One TFRecord around any data."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
