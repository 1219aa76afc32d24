"""Tar files as a stream of members, strictly read: nothing in a header decides how much memory or time it takes.

Unlike `tarfile` this takes no damaged header and no zeros for the end of the file without saying so, keeps nothing of
the members that it has passed, and never seeks. It knows ustar, the older V7, GNU's long names and PAX records.
"""

import io
from collections.abc import Iterator
from typing import IO, NamedTuple

from transforms.read import limits

_BLOCK = 512
_RECORD_BYTES = 20 * _BLOCK  # writers pad a file to a multiple of that
_CHUNK_BYTES = 256 * 1024
_NAME, _SIZE, _CHECKSUM, _KIND = slice(0, 100), slice(124, 136), slice(148, 156), slice(156, 157)
_LINK, _MAGIC, _PREFIX = slice(157, 257), slice(257, 263), slice(345, 500)
_SPARSE_GOES_ON, _SPARSE_MAP_GOES_ON = 482, 504  # whether blocks of the map of a sparse file follow
FOLDER, SPARSE = "a folder", "a sparse file"
_KINDS = {b"3": "a device", b"4": "a device", b"5": FOLDER, b"6": "a named pipe"}
_HARD_LINK, _SYMBOLIC_LINK = b"1", b"2"
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
_PAX, _PAX_OF_ALL = (b"x", b"X"), b"g"
_SPARSE_PREFIX = "GNU.sparse."
_SPARSE_NAME = f"{_SPARSE_PREFIX}name"
_KNOWN = {"path", "linkpath", "size", _SPARSE_NAME}  # records that say something of the stream


class TarError(ValueError):
    """The bytes are not those of a whole tar file; the message says where."""


class Member(NamedTuple):
    """A member of a tar file.

    Attributes:
      name: as it stands there; text that is not UTF-8 is escaped.
      size: of its content.
      about: what it is where it is not a file with content, "a link to 'x'", else "".
    """

    name: str
    size: int
    about: str


class Gap(NamedTuple):
    """Zeros where a member should begin, and members behind them: two tar files in one, or lost members."""

    message: str


class TarStream:
    """Reads the members of a tar file, in order; the content of one is read before the next one is asked for."""

    def __init__(self, file: IO[bytes]):
        self._file, self._position = file, 0
        self._left = self._padding = self._content_begin = 0  # of the current member
        self._records: dict[str, str] = {}  # of PAX, for all members

    def __iter__(self) -> Iterator[Member | Gap]:
        """Yields the members, and the gaps between them.

        Raises:
          TarError: what follows can't be read.
        """
        end = 0  # of the last member
        while True:
            zeros, header = self._next_header()
            if header is None:
                self._check_end(end, zeros)
                return
            member = self._member(header)
            if zeros:
                yield Gap(f"{zeros} bytes of zeros at byte {end}, with members behind them")
            yield member
            self._skip(self._left + self._padding)
            self._left, end = 0, self._position

    def read(self, size: int | None = None) -> bytes:
        """Returns the next bytes of the current member, or all that is left of it.

        Raises:
          TarError: the file ends within them.
        """
        begin = self._position
        content = self._read(self._left if size is None else min(size, self._left))
        self._left -= len(content)
        self._check_swallowed(content, begin)
        return content

    def _check_swallowed(self, content: bytes, begin: int) -> None:
        """Raises where content holds the header of a member: the size that was said of it is too large."""
        at = content.find(b"ustar")
        while at >= 0:
            header = at - _MAGIC.start
            if (self._content_begin - begin - header) % _BLOCK == 0 and header >= 0:
                block = content[header : header + _BLOCK]
                if len(block) == _BLOCK and _is_header(block):
                    raise TarError(f"a member holds the header at byte {begin + header}")
            at = content.find(b"ustar", at + 1)

    def _next_header(self) -> tuple[int, bytes | None]:
        """Returns how many bytes of zeros come first, and the header behind them; None where the file ends."""
        zeros = 0
        while block := self._file.read(_BLOCK):
            self._position += len(block)
            if block.count(0) < _BLOCK:
                if len(block) == _BLOCK:
                    return zeros, block
                if block.count(0) < len(block):
                    raise TarError(f"the file ends within the header at byte {self._position - len(block)}")
            zeros += len(block)
        return zeros, None

    def _check_end(self, end: int, zeros: int) -> None:
        """Raises where the zeros at the end are not the mark of the end and the usual padding."""
        if not self._position:
            raise TarError("an empty file")
        if not zeros:
            raise TarError(f"the file ends at byte {end} without a mark of its end: it may have been cut there")
        marks = (_BLOCK, 2 * _BLOCK)
        padded = {end + mark + -(end + mark) % _RECORD_BYTES for mark in marks}
        if zeros not in marks and self._position not in padded:
            raise TarError(f"{zeros} bytes of zeros at byte {end} are no end of a tar file: members may be lost")

    def _member(self, header: bytes) -> Member:
        """Returns the member that begins with a header, and reads what precedes its content."""
        records: dict[str, str] = {}
        for _ in range(limits.MAX_EXTENDED_HEADERS):
            size = self._checked_size(header)
            kind = header[_KIND]
            if kind in (_LONG_NAME, _LONG_LINK):
                name = self._extension(size).rstrip(b"\0")
                if b"\0" in name:
                    raise TarError(f"a name with a zero byte, before byte {self._position}")
                records.setdefault("path" if kind == _LONG_NAME else "linkpath", _text(name))
            elif kind in _PAX or kind == _PAX_OF_ALL:
                found = _pax_records(self._extension(size))
                if kind == _PAX_OF_ALL:
                    self._records |= found
                else:
                    records = found | records
            else:
                return self._described(header, size, self._records | records)
            zeros, following = self._next_header()
            if zeros or following is None:
                raise TarError(f"no member behind the header that is for it, before byte {self._position}")
            header = following
        raise TarError(f"more than {limits.MAX_EXTENDED_HEADERS} headers of one member at byte {self._position}")

    def _checked_size(self, header: bytes) -> int:
        at = self._position - _BLOCK
        try:
            if _number(header[_CHECKSUM]) not in _checksums(header):
                raise TarError(f"wrong checksum of the header at byte {at}")
            size = _number(header[_SIZE])
        except ValueError as error:
            raise error if isinstance(error, TarError) else TarError(f"bad header at byte {at}: {error}") from None
        if size < 0:
            raise TarError(f"a size of {size} in the header at byte {at}")
        return size

    def _described(self, header: bytes, size: int, records: dict[str, str]) -> Member:
        kind = header[_KIND]
        name, link, prefix = (_text(header[field].partition(b"\0")[0]) for field in (_NAME, _LINK, _PREFIX))
        if header[_MAGIC] == b"ustar\0" and prefix:
            name = f"{prefix}/{name}"
        name = records.get(_SPARSE_NAME) or records.get("path") or name
        if kind == b"\0" and name.endswith("/"):
            kind = b"5"  # as V7 says it
        if "size" in records:
            try:
                size = int(records["size"])
            except ValueError:
                size = -1
            if size < 0:
                raise TarError(f"a size of {records['size']!r} in the header at byte {self._position}")
        about = _KINDS.get(kind, "")
        if "linkpath" in records and kind not in (_HARD_LINK, _SYMBOLIC_LINK):
            raise TarError(f"where a link points to, for what is no link, before byte {self._position}")
        if kind in (_HARD_LINK, _SYMBOLIC_LINK):
            about = f"a link to {records.get('linkpath') or link!r}, and links are not followed"
        if about:
            size = 0  # whatever the header says, no content follows
        elif kind == _SPARSE:
            self._skip_sparse_map(header[_SPARSE_GOES_ON])
            about = SPARSE
        elif any(key.startswith(_SPARSE_PREFIX) for key in records):
            about = SPARSE
        self._left, self._padding, self._content_begin = size, -size % _BLOCK, self._position
        return Member(name[: limits.MAX_NAME_CHARS], size, about)

    def _skip_sparse_map(self, goes_on: int) -> None:
        while goes_on:
            goes_on = self._read(_BLOCK)[_SPARSE_MAP_GOES_ON]

    def _extension(self, size: int) -> bytes:
        """Returns the content of a header that extends another."""
        if size > limits.MAX_EXTENDED_HEADER_BYTES:
            raise TarError(f"a header of {size} bytes at byte {self._position - _BLOCK}")
        content = self._read(size)
        self._skip(-size % _BLOCK)
        return content

    def _read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._position += len(content)
        if len(content) < size:
            raise TarError(f"the file ends at byte {self._position}, within a member")
        return content

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= len(self._read(min(size, _CHUNK_BYTES)))


def _is_header(block: bytes) -> bool:
    try:
        return _number(block[_CHECKSUM]) in _checksums(block)
    except ValueError:
        return False


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


def _pax_records(content: bytes) -> dict[str, str]:
    """Returns those PAX records that say something of the stream; a record is its length, key=value and a line feed."""
    found: dict[str, str] = {}
    stream = io.BytesIO(content)
    while stream.tell() < len(content) and content[stream.tell()]:
        begin = stream.tell()
        digits = content[begin : begin + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = stream.read(length)[len(digits) + 1 :]
        key, equals, value = record.partition(b"=")
        if len(record) != length - len(digits) - 1 or not equals or not value.endswith(b"\n"):
            raise TarError(f"a damaged PAX record: {content[begin : begin + 40]!r}")
        name = key.decode(errors="backslashreplace")
        if name in _KNOWN:
            found[name] = _text(value[:-1])
        elif name.startswith(_SPARSE_PREFIX):
            found[_SPARSE_PREFIX] = ""
    return found


def _text(name: bytes) -> str:
    return name[: limits.MAX_NAME_CHARS].decode(errors="backslashreplace")  # a row's text must be Unicode
