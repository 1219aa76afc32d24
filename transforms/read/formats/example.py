"""`tf.train.Example`, read without TensorFlow and no further than it is asked for.

A parser of the whole message would make an object of each feature and of each value, and two bytes are enough for one.
On the wire a message is fields, each a key (number and kind) and a value; a map is a list of (1: name, 2: value).
"""

import struct
from collections.abc import Iterator

from transforms.read import limits

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds of values
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES = 10
Value = bytes | float | int


def features(record: bytes) -> dict[str, memoryview]:
    """Returns the features of an Example by name, each as it was serialised.

    Raises:
      ValueError: the record is no Example, or one of more than `limits.MAX_FIELDS` parts.
    """
    found: dict[str, memoryview] = {}
    steps = _steps()
    for all_features in _messages(1, memoryview(record), steps):
        for entry in _messages(1, all_features, steps):
            parts = {number: value for number, value in _fields(entry, steps) if isinstance(value, memoryview)}
            found[bytes(parts.get(1, b"")).decode()] = parts.get(2, memoryview(b""))
    return found


def first_value(feature: memoryview) -> Value | None:
    """Returns a feature's first value; None where there is none.

    Raises:
      ValueError: the bytes are no feature.
    """
    steps = _steps()
    kinds = [number for number, _ in _fields(feature, steps)]
    for values in _messages(kinds[-1], feature, steps) if kinds else []:  # of several kinds, the last one counts
        for number, value in _fields(values, steps):
            if number == 1:
                return _first_of(value, kinds[-1])
    return None


def _first_of(value: memoryview | int, of_list: int) -> Value | None:
    """Returns the first value in a field of a list of bytes (1), floats (2) or integers (3), which may be packed."""
    match of_list, value:
        case 1, memoryview():
            return bytes(value)
        case 2, memoryview() if len(value) >= 4:
            return struct.unpack_from("<f", value)[0]
        case 3, memoryview() if len(value):
            return _signed(_varint(value, 0)[0])
        case 3, int():
            return _signed(value)
    return None


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _steps() -> Iterator[int]:
    """Returns the steps that the parsing of a message and of all in it may take together."""
    return iter(range(limits.MAX_FIELDS))


def _messages(wanted: int, message: memoryview, steps: Iterator[int]) -> Iterator[memoryview]:
    """Yields the messages in the fields of one number."""
    for number, value in _fields(message, steps):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview, steps: Iterator[int]) -> Iterator[tuple[int, memoryview | int]]:
    """Yields (number, value) of each field of a message."""
    at = 0
    for _ in steps:
        if at == len(message):
            return
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise ValueError(f"a value of the unknown kind {kind}")
        if size > len(message) - at:
            raise ValueError(f"a value of {size} bytes, of which {len(message) - at} are there")
        yield key >> 3, message[at : at + size]
        at += size
    if at < len(message):
        raise ValueError(f"more than {limits.MAX_FIELDS} parts")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Returns a number of variable length, and where it ends."""
    number = 0
    for shift, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number % 2**64, at + shift + 1
    raise ValueError("a number without end")
