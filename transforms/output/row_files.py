"""Whether the files that a marker speaks of are those that lie beside it."""

import json

import pyarrow.parquet as pq

from transforms.output.layout import IMAGES, REJECTS, Layout
from transforms.records import ShardDone
from transforms.store import files as store


def are_whole(layout: Layout, done: ShardDone, listed: tuple[int, int] | None) -> bool:
    """Tells whether a shard's files are as its marker says. Local ones are looked into, a store's compared by size.

    Args:
      listed: the sizes of its rows and rejects as they were listed some time ago; what disagrees is asked for again.
    """
    if store.is_local(layout.root):
        return wrong_file(layout, done) is None
    if listed is None or not wrong_sizes(done, *listed):
        return True
    now = [store.metadata(path).size_in_bytes if store.exists(path) else 0 for path in _paths(layout, done).values()]
    return not wrong_sizes(done, *now)


def wrong_sizes(done: ShardDone, images_bytes: int, rejects_bytes: int) -> list[str]:
    """Returns the folders in which a shard's file is gone or has another size than its marker says; 0 means gone."""
    found = {
        IMAGES: (done.written, done.images_bytes, images_bytes),
        REJECTS: (done.rejected, done.rejects_bytes, rejects_bytes),
    }
    return [folder for folder, (rows, said, now) in found.items() if rows and (not now or said not in (None, now))]


def wrong_file(layout: Layout, done: ShardDone) -> str | None:
    """Returns the path of a shard's file that is not what its marker says, by the file's own footer; else None."""
    paths = _paths(layout, done)
    for folder, rows, num_bytes in (
        (IMAGES, done.written, done.images_bytes),
        (REJECTS, done.rejected, done.rejects_bytes),
    ):
        path = paths[folder]
        try:
            if rows and not _is_file_of(path, done, rows, num_bytes, folder == IMAGES):
                return path
        except OSError as error:
            if not store.is_missing(error):
                raise
            return path
    return None


def _paths(layout: Layout, done: ShardDone) -> dict[str, str]:
    return {IMAGES: layout.images(done.shard_id), REJECTS: layout.rejects(done.shard_id)}


def _is_file_of(path: str, done: ShardDone, rows: int, num_bytes: int | None, holds_images: bool) -> bool:
    with store.open_read(path) as file:
        if num_bytes not in (None, file.seek(0, 2)):
            return False
        try:
            parquet = pq.ParquetFile(file)
            return parquet.metadata.num_rows == rows and (not holds_images or _speaks_of(parquet, done))
        except Exception as error:
            if getattr(error, "errno", None) is not None:
                raise  # the store or the disk failed
            return False


def _speaks_of(parquet: pq.ParquetFile, done: ShardDone) -> bool:
    """Tells whether rows are of a shard and of the settings that it was done with, by the footer and the first row."""
    made_with = json.loads((parquet.metadata.metadata or {}).get(b"cambeam", b"{}")).get("fingerprint")
    first = next(parquet.iter_batches(1, columns=["shard_id"]))  # bad statistics would end the process
    return made_with in (None, done.fingerprint) and first["shard_id"].to_pylist() == [done.shard_id]
