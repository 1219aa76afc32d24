"""Tar files as a stream of members, strictly read: nothing in a header decides how much memory or time it takes.

Unlike `tarfile` this takes no damaged header and no zeros for the end of the file without saying so, keeps nothing of
the members that it has passed, and never seeks. It knows ustar, the older V7, GNU's long names and PAX records.
"""

from collections.abc import Iterator
from typing import IO, NamedTuple

from transforms.read import limits
from transforms.read.formats import tar_headers as headers
from transforms.read.formats.tar_headers import BLOCK, TarError

_RECORD_BYTES = 20 * BLOCK  # writers pad a file to a multiple of that
_CHUNK_BYTES = 256 * 1024
_SPARSE_GOES_ON, _SPARSE_MAP_GOES_ON = 482, 504  # whether blocks of the map of a sparse file follow
FOLDER, SPARSE = "a folder", "a sparse file"
_KINDS = {b"3": "a device", b"4": "a device", b"5": FOLDER, b"6": "a named pipe"}
_HARD_LINK, _SYMBOLIC_LINK = b"1", b"2"
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
_PAX, _PAX_OF_ALL = (b"x", b"X"), b"g"


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
    """Zeros where a member should start, and members behind them: two tar files in one, or lost members."""

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
            header = at - headers.MAGIC.start
            if (self._content_begin - begin - header) % BLOCK == 0 and header >= 0:
                block = content[header : header + BLOCK]
                if len(block) == BLOCK and headers.is_header(block):
                    raise TarError(f"a member holds the header at byte {begin + header}")
            at = content.find(b"ustar", at + 1)

    def _next_header(self) -> tuple[int, bytes | None]:
        """Returns how many bytes of zeros come first, and the header behind them; None where the file ends."""
        zeros = 0
        while block := self._file.read(BLOCK):
            self._position += len(block)
            if block.count(0) < BLOCK:
                if len(block) == BLOCK:
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
        marks = (BLOCK, 2 * BLOCK)
        padded = {end + mark + -(end + mark) % _RECORD_BYTES for mark in marks}
        if zeros not in marks and self._position not in padded:
            raise TarError(f"{zeros} bytes of zeros at byte {end} are no end of a tar file: members may be lost")

    def _member(self, header: bytes) -> Member:
        """Returns the member that begins with a header, and reads what precedes its content."""
        records: dict[str, str] = {}
        for _ in range(limits.MAX_EXTENDED_HEADERS):
            size = headers.size_of(header, self._position - BLOCK)
            kind = header[headers.KIND]
            if kind in (_LONG_NAME, _LONG_LINK):
                name = self._extension(size).rstrip(b"\0")
                if b"\0" in name:
                    raise TarError(f"a name with a zero byte, before byte {self._position}")
                records.setdefault("path" if kind == _LONG_NAME else "linkpath", headers.text(name))
            elif kind in _PAX or kind == _PAX_OF_ALL:
                found = headers.pax_records(self._extension(size))
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

    def _described(self, header: bytes, size: int, records: dict[str, str]) -> Member:
        kind = header[headers.KIND]
        texts = (header[field].partition(b"\0")[0] for field in (headers.NAME, headers.LINK, headers.PREFIX))
        name, link, prefix = map(headers.text, texts)
        if header[headers.MAGIC] == b"ustar\0" and prefix:
            name = f"{prefix}/{name}"
        name = records.get(headers.SPARSE_NAME) or records.get("path") or name
        if kind == b"\0" and name.endswith("/"):
            kind = b"5"  # as V7 says it
        if "size" in records:
            if not records["size"].isdecimal():
                raise TarError(f"a size of {records['size']!r} in the header at byte {self._position}")
            size = int(records["size"])
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
        elif any(key.startswith(headers.SPARSE_PREFIX) for key in records):
            about = SPARSE
        self._left, self._padding, self._content_begin = size, -size % BLOCK, self._position
        return Member(name[: limits.MAX_NAME_CHARS], size, about)

    def _skip_sparse_map(self, goes_on: int) -> None:
        while goes_on:
            goes_on = self._read(BLOCK)[_SPARSE_MAP_GOES_ON]

    def _extension(self, size: int) -> bytes:
        """Returns the content of a header that extends another."""
        if size > limits.MAX_EXTENDED_HEADER_BYTES:
            raise TarError(f"a header of {size} bytes at byte {self._position - BLOCK}")
        content = self._read(size)
        self._skip(-size % BLOCK)
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
