"""The commit protocol: how a shard's rows become visible, whole or not at all.

Rows stream to a file of a new name under _tmp. At the shard's end it is renamed into place, then the rejects are, and
last of all the marker is written: a shard with a marker is done. Every step can be repeated, by a retry or by a zombie
of the same shard: each attempt has files of its own, and all attempts end in the same rows.
"""

import uuid

from transforms.output.layout import Layout
from transforms.records import Shard, ShardDone
from transforms.store import files as store


def read_marker(layout: Layout, shard_id: str) -> ShardDone | None:
    """Returns the totals of a shard that is done, whatever settings and input it was done with; None if it is not."""
    marker = store.read_json(layout.marker(shard_id))
    return None if marker is None else ShardDone(**marker)


def committed(marker: ShardDone | None, shard: Shard, fingerprint: str) -> bool:
    """Tells whether a shard is done, with these settings and for this very input."""
    return marker is not None and (marker.fingerprint, marker.input_version) == (fingerprint, shard.version)


def withdraw(layout: Layout, shard_id: str) -> None:
    """Deletes the marker of a shard that is to be done again, so that no marker speaks of rows that are replaced.

    _SUCCESS goes first: it says that every shard has its marker.
    """
    store.delete(layout.success)
    store.delete(layout.marker(shard_id))


def attempt_path(layout: Layout, run_id: str, shard_id: str, kind: str) -> str:
    """Returns a path under _tmp that no other attempt at the shard uses."""
    return layout.temporary(run_id, f"{shard_id}-{kind}-{uuid.uuid4().hex}")


def commit(layout: Layout, done: ShardDone, images_file: str, rejects_file: str | None) -> None:
    """Makes a finished shard visible: its images, its rejects (or none), then its marker."""
    store.rename(images_file, layout.images(done.shard_id))
    if rejects_file:
        store.rename(rejects_file, layout.rejects(done.shard_id))
    else:
        store.delete(layout.rejects(done.shard_id))
    marker_file = attempt_path(layout, done.run_id, done.shard_id, "marker")
    store.write_json(layout.marker(done.shard_id), done.to_json(), marker_file)
