"""A file of a store that is read further after a connection broke."""

import contextlib
import io
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.store.retries import ask

RAW = CompressionTypes.UNCOMPRESSED  # else Beam would unpack what it thinks a name says


class ResumingFile(io.RawIOBase):
    """Reads a file of a store, opening it again at the place where reading failed."""

    def __init__(self, path: str):
        self.path = self._path = path
        self._position = 0
        self._file: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}
        self._position = offset + (ask(_size, self._path) if whence == io.SEEK_END else start[whence])
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = ask(self._read_next, self._path, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read_next(self, path: str, count: int) -> bytes:
        """Returns the next bytes and leaves the position as it is; raises what the store raises."""
        try:
            if self._file is None:
                self._file = FileSystems.open(path, compression_type=RAW)
            if self._file.tell() != self._position:
                self._file.seek(self._position)
            return self._file.read(count)
        except Exception:
            with contextlib.suppress(Exception):  # of a broken connection; the error that matters is raised
                self._close_file()
            raise

    def close(self) -> None:
        self._close_file()
        super().close()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _size(path: str) -> int:
    return FileSystems.get_filesystem(path).metadata(path).size_in_bytes
