"""Models of the user's own, at a path: one file or a folder of files, on this machine or on a store."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

from transforms.model.source import ModelError, ModelSource
from transforms.store import files as store


class StoredSource(ModelSource):
    """A model at a path; a local path becomes absolute."""

    def __init__(self, location: str):
        super().__init__(os.path.abspath(location) if store.is_local(location) else location)

    def files(self) -> list[str]:
        if found := store.files_below(self.location):
            return [file.path for file in found]
        if store.is_file(self.location):
            return [self.location]
        raise ModelError(f"no model at {self.location!r}")

    def stage(self, folder: str, copy: Callable[[str, str], None]) -> str:
        return self._copy_to(folder, copy) if store.is_local(self.location) else self.location

    @contextlib.contextmanager
    def local_path(self) -> Iterator[str]:
        """Yields the model's path, or that of a copy to load it from: libraries do not read from every store."""
        if store.is_local(self.location):
            yield self.location
            return
        with tempfile.TemporaryDirectory(prefix="cambeam-") as folder:
            yield self._copy_to(folder, _download)

    def _copy_to(self, folder: str, copy: Callable[[str, str], None]) -> str:
        files = self.files()
        if files == [self.location]:
            (target,) = targets = [store.join(folder, os.path.basename(self.location))]
        else:
            target, inner = folder, (path.removeprefix(self.location).strip("/") for path in files)
            targets = [store.join(folder, path) for path in inner]
        for path, place in zip(files, targets, strict=True):
            copy(path, place)
        return target


def _download(path: str, copy: str) -> None:
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    with store.open_read(path) as file, open(copy, "wb") as written:
        shutil.copyfileobj(file, written)
