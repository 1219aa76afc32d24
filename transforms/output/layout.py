"""Where things lie in an output folder."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from transforms.errors import UserError
from transforms.store import files as store

MARKERS, IMAGES, REJECTS = "_shards", "images", "rejects"  # folders with a file per shard


@dataclass(frozen=True)
class Layout:
    """The paths of an output folder, local or on a store.

    Attributes:
      root: the folder, without a slash at its end.
    """

    root: str

    def __post_init__(self):
        if not self.root.strip("/"):
            raise UserError(f"the output must be a folder, got {self.root!r}")
        object.__setattr__(self, "root", self.root.rstrip("/"))

    def images(self, shard_id: str) -> str:
        """One row per image of a shard."""
        return store.join(self.root, IMAGES, f"{shard_id}.parquet")

    def rejects(self, shard_id: str) -> str:
        """One row per rejected image of a shard, where there are any."""
        return store.join(self.rejects_folder, f"{shard_id}.parquet")

    def marker(self, shard_id: str) -> str:
        """The shard is done: its `ShardDone` as JSON."""
        return store.join(self.marker_folder, f"{shard_id}.json")

    @property
    def marker_folder(self) -> str:
        """Where the markers are."""
        return store.join(self.root, MARKERS)

    def marked(self) -> list[str]:
        """Lists the ids of the shards that have a marker."""
        return [name.removesuffix(".json") for name in store.names(self.marker_folder) if name.endswith(".json")]

    def present(self) -> Iterator[tuple[str, tuple[str, int]]]:
        """Lists (shard id, (folder, bytes)) of every file in the folders MARKERS, IMAGES and REJECTS."""
        for folder in (MARKERS, IMAGES, REJECTS):
            for name, num_bytes in store.sizes(store.join(self.root, folder)).items():
                yield posixpath.splitext(name)[0], (folder, num_bytes)

    @property
    def rejects_folder(self) -> str:
        """Where the rejects are."""
        return store.join(self.root, REJECTS)

    @property
    def temporary_folder(self) -> str:
        """Where each run has a folder for what is not yet what it will be."""
        return store.join(self.root, "_tmp")

    def temporary(self, run_id: str, name: str) -> str:
        """A file of one run that is not yet what it will be."""
        return store.join(self.temporary_folder, run_id, name)

    def model(self, fingerprint: str) -> str:
        """A copy of a model, for workers that can't read the original."""
        return store.join(self.root, "_model", fingerprint)

    @property
    def plan(self) -> str:
        """The shards, a JSON object per line, in the order in which they were first seen."""
        return store.join(self.root, "_plan", "shards.jsonl")

    @property
    def settings(self) -> str:
        """The fingerprint of the rows, and what went into it."""
        return store.join(self.root, "_plan", "settings.json")

    @property
    def class_names(self) -> str:
        """The names of all the model's classes, a JSON list."""
        return store.join(self.root, "_plan", "class_names.json")

    @property
    def summary(self) -> str:
        """Totals of the last run."""
        return store.join(self.root, "_run.json")

    @property
    def success(self) -> str:
        """Its presence says: everything planned is done, and not too much was rejected."""
        return store.join(self.root, "_SUCCESS")
