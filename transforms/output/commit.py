"""The commit protocol: how a shard's rows become visible, whole or not at all.

Rows stream to a file of a new name under _tmp. At the shard's end it is renamed into place, then the rejects are, and
last of all the marker is written: a shard with a marker is done. Every step can be repeated, by a retry or by a zombie
of the same shard: each attempt has files of its own, and all attempts end in the same rows.
"""

import uuid

from transforms.output.layout import Layout
from transforms.records import Shard, ShardDone
from transforms.store import files as store


def committed(layout: Layout, shard: Shard, fingerprint: str) -> ShardDone | None:
    """Returns the totals of a shard that is done, with these settings and for this very input; else None.

    What was done with other settings or for an older input is no longer valid: its marker goes, so that no marker ever
    speaks of what does not lie beside it, and _SUCCESS with it.
    """
    marker = store.read_json(layout.marker(shard.shard_id))
    if marker is None:
        return None
    done = ShardDone(**marker)
    if done.fingerprint == fingerprint and done.input_version == shard.version:
        return done
    store.delete(layout.success)
    store.delete(layout.marker(shard.shard_id))
    return None


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
