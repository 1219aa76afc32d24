"""The commit protocol: how a shard's rows become visible, whole or not at all.

Rows stream to a file of a new name under _tmp. At the shard's end it is renamed into place, then the rejects are, and
last of all the marker is written: a shard with a marker is done. Every step can be repeated, by a retry or by a zombie
of the same shard: each attempt has files of its own, and all attempts end in the same rows. So that a power cut can't
leave a marker without its rows, local files and then their folders are flushed before it is written.

A run that another one with other settings has overtaken must not add to its rows: the settings in force are those in
the output, and they are compared before a shard becomes visible and once more behind its marker.
"""

import dataclasses
import hashlib
import json
import uuid
from typing import Any

from transforms.errors import UserError
from transforms.output.layout import Layout
from transforms.records import Shard, ShardDone
from transforms.store import files as store

_UNKNOWN = ""  # the fingerprint of a marker that can't be read: of no settings
_FIELDS = {field.name for field in dataclasses.fields(ShardDone)}
_COUNTS = ("read", "written", "rejected")


class OvertakenError(RuntimeError):
    """Another run has given the output other settings since this one began."""


def fingerprint(recipe: dict[str, Any]) -> str:
    """Returns a hash of the recipe of rows: the settings and the model that make them what they are."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def check_in_force(layout: Layout, of_run: str) -> None:
    """Checks that the output's settings are still those of a run, given by their fingerprint.

    Raises:
      OvertakenError: they are not.
    """
    settings = store.read_json(layout.settings)
    if settings is not None and fingerprint(settings) != of_run:
        raise OvertakenError(
            f"another run has given {layout.root} other settings since this run began: this one ends here, and the "
            "shards that it has not done are the other's"
        )


def read_marker(layout: Layout, shard_id: str) -> ShardDone | None:
    """Returns the totals of a shard that is done, whatever settings and input it was done with; None if it is not.

    A damaged marker, such as a power cut leaves, gives totals that match no settings and no input.
    """
    try:
        marker = store.read_json(layout.marker(shard_id))
    except UserError:
        marker = {}
    return None if marker is None else as_done(marker, shard_id)


def as_done(marker: object, shard_id: str) -> ShardDone:
    """Returns the totals that a marker holds; see `read_marker`."""
    try:
        done = ShardDone(**{key: value for key, value in marker.items() if key in _FIELDS})  # type: ignore[attr-defined]
        whole = done.shard_id == shard_id and all(type(getattr(done, count)) is int for count in _COUNTS)
    except (AttributeError, TypeError):
        whole = False
    return done if whole else ShardDone(shard_id, "", "", _UNKNOWN, 0, 0, 0)


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
    """Makes a finished shard visible: its images, its rejects (or none), then its marker.

    Raises:
      OvertakenError: nothing becomes visible, or, where that happened meanwhile, the shard is not done.
    """
    check_in_force(layout, done.fingerprint)
    store.rename(images_file, layout.images(done.shard_id))
    store.flush_folder_of(layout.images(done.shard_id))
    if rejects_file:
        store.rename(rejects_file, layout.rejects(done.shard_id))
        store.flush_folder_of(layout.rejects(done.shard_id))
    else:
        store.delete(layout.rejects(done.shard_id))
    marker_file = attempt_path(layout, done.run_id, done.shard_id, "marker")
    store.write_json(layout.marker(done.shard_id), dataclasses.asdict(done), marker_file)
    try:
        check_in_force(layout, done.fingerprint)
    except OvertakenError:
        withdraw(layout, done.shard_id)
        raise
