"""TFRecord files of `tf.train.Example`, read without TensorFlow.

A record is its length (8 bytes, little-endian), the length's masked CRC-32C (4), the data, and its masked CRC-32C (4).
"""

import io
import struct
from collections.abc import Iterator
from typing import IO

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

from transforms.read import limits, samples
from transforms.read.samples import (
    USUAL_FIELDS,
    USUAL_ID,
    USUAL_IMAGE,
    USUAL_LABEL,
    BadSample,
    Counts,
    Fields,
    Samples,
)
from transforms.records import ErrorType, Sample, Shard
from transforms.store import files as store

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_CHUNK_BYTES = 1024 * 1024
# tensorflow/core/example/*.proto, but for the map of features: on the wire it is a list of (name, feature), and with
# the features left as bytes only those that are asked for are parsed
_SCHEMA = """
name: "cambeam/example.proto" package: "cambeam" syntax: "proto3"
message_type { name: "Example" field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".cambeam.Features" } }
message_type { name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".cambeam.Entry" } }
message_type { name: "Entry"
  field { name: "name" number: 1 type: TYPE_BYTES } field { name: "feature" number: 2 type: TYPE_BYTES } }
message_type { name: "Feature"
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".cambeam.BytesList" }
  field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".cambeam.FloatList" }
  field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".cambeam.Int64List" } }
message_type { name: "BytesList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List" field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
"""


def _message_class(name: str):
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"cambeam.{name}"))


_POOL = descriptor_pool.DescriptorPool()  # of our own: TensorFlow's messages are in the default one
_POOL.Add(text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto()))
_EXAMPLE, _FEATURE = _message_class("Example"), _message_class("Feature")


def read_tfrecord(shard: Shard, fields: Fields = USUAL_FIELDS, counts: Counts | None = None) -> Samples:
    """Reads the records of a file, packed with gzip or not.

    A damaged record ends the shard, as nothing says where the next one begins; what comes before it is kept.
    """
    with store.open_read(shard.uri) as file:
        try:
            for number, record in enumerate(read_records(_unpacked(file))):
                yield _sample(f"{shard.uri}#{number}", str(number), record, fields)
        except Exception as error:  # whatever comes of bytes that a stranger wrote
            yield samples.damaged(shard.uri, error)


def starts_record(head: bytes) -> bool:
    """Tells whether a file that begins with these bytes is a plain TFRecord file."""
    if len(head) < _HEADER.size:
        return False
    _, checksum = _HEADER.unpack_from(head)
    return checksum == _masked_crc32c(head[:8])


def read_records(file: IO[bytes]) -> Iterator[bytes | None]:
    """Yields the data of each record, None for one that is too large to be read into memory.

    Raises:
      ValueError: a record is damaged or cut short; the message says at which byte it begins.
    """
    offset = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            raise ValueError(f"the file ends within the record at byte {offset}")
        length, checksum = _HEADER.unpack(header)
        if checksum != _masked_crc32c(header[:8]):
            raise ValueError(f"wrong checksum of the length of the record at byte {offset}")
        data, crc = _read_data(file, length)
        checksum_bytes = file.read(_CHECKSUM.size)
        if len(checksum_bytes) < _CHECKSUM.size:
            raise ValueError(f"the file ends within the record at byte {offset}")
        if _CHECKSUM.unpack(checksum_bytes)[0] != _mask(crc):
            raise ValueError(f"wrong checksum of the data of the record at byte {offset}")
        yield data
        offset += _HEADER.size + length + _CHECKSUM.size


def _unpacked(file: io.BufferedReader) -> IO[bytes]:
    return (
        file if starts_record(file.peek(_HEADER.size)) else samples.unpacked(file)
    )  # a plain record's length may look like gzip's magic


def _read_data(file: IO[bytes], length: int) -> tuple[bytes | None, int]:
    """Reads data of this length and returns it, or None if it is too large to be kept, with its CRC-32C."""
    if length <= limits.MAX_ENCODED_BYTES:
        data = file.read(length)
        return data, google_crc32c.value(data)
    crc = 0
    while length and (chunk := file.read(min(length, _CHUNK_BYTES))):
        crc, length = google_crc32c.extend(crc, chunk), length - len(chunk)
    return None, crc


def _mask(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _masked_crc32c(data: bytes) -> int:
    return _mask(google_crc32c.value(data))


def _sample(uri: str, number: str, record: bytes | None, fields: Fields) -> Sample | BadSample:
    if record is None:
        return samples.too_large(number, uri)
    try:
        features = {entry.name.decode(): entry.feature for entry in _EXAMPLE.FromString(record).features.feature}
        id_name = fields.id or samples.first_present(USUAL_ID, features)
        image_id = _text(_value(features, id_name)) or number
        image_name = fields.image or samples.first_present(USUAL_IMAGE, features)
        encoded = _value(features, image_name)
        if not isinstance(encoded, bytes):
            known = ", ".join(sorted(features)[:20])
            return BadSample(image_id, uri, ErrorType.NO_IMAGE, f"no image in {image_name!r}; the features are {known}")
        if fields.id and fields.id not in features:
            return BadSample(image_id, uri, ErrorType.BAD_ID, f"no feature {fields.id!r}")
        if fields.label and fields.label not in features:
            return BadSample(image_id, uri, ErrorType.BAD_LABEL, f"no feature {fields.label!r}")
        label = _value(features, fields.label or samples.first_present(USUAL_LABEL, features))
    except (message.DecodeError, UnicodeDecodeError) as error:
        return BadSample(number, uri, ErrorType.NO_IMAGE, f"not a tf.train.Example: {error}")
    try:
        return Sample(image_id, uri, encoded, samples.class_index(label))
    except samples.LabelError as error:
        return BadSample(image_id, uri, ErrorType.BAD_LABEL, str(error))


def _value(features: dict[str, bytes], name: str | None) -> bytes | float | int | None:
    """Returns a feature's first value; None where there is no such feature, or nothing in it."""
    if name is None or name not in features:
        return None
    feature = _FEATURE.FromString(features[name])
    values = feature.bytes_list.value or feature.int64_list.value or feature.float_list.value
    return values[0] if values else None


def _text(value: bytes | float | int | None) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return "" if value is None else str(value)
