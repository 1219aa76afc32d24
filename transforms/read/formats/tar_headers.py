"""The headers of a tar file: where in a block their fields are, what these hold, and the records of PAX."""

import io

from transforms.read import limits

BLOCK = 512
NAME, LINK, MAGIC, PREFIX = slice(0, 100), slice(157, 257), slice(257, 263), slice(345, 500)
KIND = slice(156, 157)
_SIZE, _CHECKSUM = slice(124, 136), slice(148, 156)
SPARSE_PREFIX = "GNU.sparse."
SPARSE_NAME = f"{SPARSE_PREFIX}name"
_KNOWN = {"path", "linkpath", "size", SPARSE_NAME}  # records that say something of the stream


class TarError(ValueError):
    """The bytes are not those of a whole tar file; the message says where."""


def is_header(block: bytes) -> bool:
    """Tells whether a block has the checksum of a header."""
    try:
        return _number(block[_CHECKSUM]) in _checksums(block)
    except ValueError:
        return False


def size_of(header: bytes, at: int) -> int:
    """Returns the size of the content behind a header that lies at this byte.

    Raises:
      TarError: it is no header, or a damaged one.
    """
    try:
        if _number(header[_CHECKSUM]) not in _checksums(header):
            raise TarError(f"wrong checksum of the header at byte {at}")
        size = _number(header[_SIZE])
    except TarError:
        raise
    except ValueError as error:
        raise TarError(f"bad header at byte {at}: {error}") from None
    if size < 0:
        raise TarError(f"a size of {size} in the header at byte {at}")
    return size


def _checksums(header: bytes) -> tuple[int, int]:
    """Returns the sum of a header's bytes, its own checksum taken for blanks; and that of signed bytes."""
    blanked = header[:148] + b" " * 8 + header[156:]
    total = sum(blanked)
    return total, total - 256 * sum(byte > 127 for byte in blanked) if not blanked.isascii() else total


def _number(field: bytes) -> int:
    """Returns the number in a field: octal digits, or binary where the first byte says so."""
    if field[0] in (0o200, 0o377):
        number = int.from_bytes(field[1:])
        return number - (field[0] == 0o377) * 256 ** (len(field) - 1)
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def pax_records(content: bytes) -> dict[str, str]:
    """Returns those PAX records that say something of the stream.

    A record is its own length in bytes, a blank, key=value, and a line feed.

    Raises:
      TarError: one is something else.
    """
    found: dict[str, str] = {}
    stream = io.BytesIO(content)
    while stream.tell() < len(content) and content[stream.tell()]:
        start = stream.tell()
        digits = content[start : start + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = stream.read(length)[len(digits) + 1 :]
        key, equals, value = record.partition(b"=")
        if len(record) != length - len(digits) - 1 or not equals or not value.endswith(b"\n"):
            raise TarError(f"a damaged PAX record: {content[start : start + 40]!r}")
        name = key.decode(errors="backslashreplace")
        if name in _KNOWN:
            found[name] = text(value[:-1])
        elif name.startswith(SPARSE_PREFIX):
            found[SPARSE_PREFIX] = ""
    return found


def text(name: bytes) -> str:
    """Returns a name as it may stand in a row."""
    return name[: limits.MAX_NAME_CHARS].decode(errors="backslashreplace")  # a row's text must be Unicode
