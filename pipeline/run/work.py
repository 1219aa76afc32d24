"""The output of a run: whether it can be written to, what is left to do in it, and clearing the way for that."""

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from pipeline.config import Config
from pipeline.run.fingerprint import differences
from pipeline.run.job import Job
from pipeline.run.plan import Plan
from transforms.errors import UserError
from transforms.output.layout import IMAGES, MARKERS, REJECTS, Layout
from transforms.output.plan import read_plan, write_plan
from transforms.records import Shard
from transforms.store import files as store
from transforms.worker.threads import thread_pool

_TMP_KEPT_SECONDS = 24 * 3600


class Work(NamedTuple):
    """What there is to do in an output.

    Attributes:
      left: shards that are not done, or are to be done again.
      again: ids of those that are done, and are to be done again.
      notes: what the user should know of it, a line each.
      output_bytes: for `Shard.output_bytes`, by id, of the shards that have a marker on a store.
    """

    left: list[Shard]
    again: list[str]
    notes: list[str]
    output_bytes: dict[str, tuple[int, int]] = {}


def layout_of(config: Config) -> Layout:
    """Returns the layout of the output.

    Raises:
      UserError: input or output is not given, or the output can't be written to.
    """
    if not config.output.path:
        raise UserError("no output: pass --output, or set output.path")
    if not config.input.pattern:
        raise UserError("no input: pass --input, or set input.pattern")
    path = config.output.path
    if not store.is_local(path):
        return Layout(path)
    path = os.path.abspath(path)
    if os.path.exists(path) and not os.path.isdir(path):
        raise UserError(f"the output {path!r} is a file, expected a folder")
    existing = path
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise UserError(f"the output {path!r} lies below {existing!r}, which is not a folder")
    if not os.access(existing, os.W_OK):
        raise UserError(f"the output {path!r} can't be written to")
    return Layout(path)


def check_reachable(paths: Iterable[str]) -> None:
    """Checks that workers on other machines can reach input and output.

    Raises:
      UserError: one of them is on this machine.
    """
    for path in paths:
        if store.is_local(path):
            raise UserError(f"workers of Dataflow can't reach {path!r}: input and output must be on a store")


def find_work(layout: Layout, plan: Plan, recipe: dict[str, Any], overwrite: bool, retry_failed: bool) -> Work:
    """Tells what is left to do in an output; changes nothing.

    Args:
      overwrite, retry_failed: see `labelling.RunFlags`.

    Raises:
      UserError: rows of different models or settings would be mixed.
    """
    earlier, present = _earlier_recipe(layout), _present(layout)
    marked = {shard_id for shard_id, files in present.items() if MARKERS in files}
    strangers = marked - {shard.shard_id for shard in plan.shards}
    if earlier and earlier != recipe and (strangers or not overwrite):
        changes = "; ".join(differences(earlier, recipe))
        way_out = "pass --overwrite to replace them"
        if overwrite:
            way_out = (
                f"{len(strangers)} shards of them are not in this input and would stay, {min(strangers)} for one; "
                f"give all the input, or delete {layout.marker(min(strangers))} and its like"
            )
        raise UserError(
            f"{layout.root} holds rows of other settings ({changes}): {way_out}, or choose another --output"
        )
    invalid = set(plan.changed)
    if earlier is not None and earlier != recipe:  # where that is not known, the markers know it
        invalid |= marked
    if retry_failed:
        invalid |= {name.removesuffix(".parquet") for name in store.names(layout.rejects_folder)}
    done = marked - invalid
    left = [shard for shard in plan.shards if shard.shard_id not in done]
    counts = [
        (len(plan.shards) - len(left), f"of {len(plan.shards)} shards are done already"),
        (len(set(plan.changed) & marked), "shards have changed since they were done, and are done again"),
        (len(strangers), "shards in the output are not in this input; they stay, uncounted"),
        (plan.ignored, "files of the input are neither shards nor images, and are ignored"),
    ]
    again = [shard.shard_id for shard in left if shard.shard_id in marked]
    on_store = not store.is_local(layout.root)  # what is local is looked into, by the worker that takes it up
    sizes = {shard_id: (files.get(IMAGES, 0), files.get(REJECTS, 0)) for shard_id, files in present.items() if on_store}
    return Work(left, again, [f"{count} {what}" for count, what in counts if count], sizes)


def _earlier_recipe(layout: Layout) -> dict[str, Any] | None:
    """Returns what the rows in an output were made with; None where nothing says it.

    Raises:
      UserError: the file that says it is damaged.
    """
    try:
        recipe = store.read_json(layout.settings)
    except UserError:
        recipe = []
    if isinstance(recipe, dict | None):
        return recipe
    raise UserError(
        f"{layout.settings} is damaged: restore it, or delete it and run the same command again, which keeps what was "
        "done with the same settings"
    )


def _present(layout: Layout) -> dict[str, dict[str, int]]:
    """Returns the bytes of each file in an output, by shard and folder; on a disk, of markers alone."""
    if store.is_local(layout.root):
        return {shard_id: {MARKERS: 0} for shard_id in layout.marked()}
    found: dict[str, dict[str, int]] = {}
    for shard_id, (folder, num_bytes) in layout.present():
        found.setdefault(shard_id, {})[folder] = num_bytes
    return found


def prepare(layout: Layout, plan: Plan, work: Work, job: Job) -> None:
    """Clears the way for what is left to do, and writes settings and plan."""
    _delete_old_temporary(layout)
    if work.left:
        store.delete(layout.success)
    # before any marker goes: from here on a run with other settings adds no rows
    store.write_json(layout.settings, job.recipe, layout.temporary(job.run_id, "settings.json"))
    # else progress would count what is to be done again as done
    list(thread_pool("read").map(store.delete, map(layout.marker, work.again)))
    store.write_json(layout.class_names, job.class_names, layout.temporary(job.run_id, "class_names.json"))
    known = [*plan.shards, *plan.elsewhere]
    known_ids = {shard.shard_id for shard in known}
    # by runs of other inputs, while this one loaded its model
    added = [shard for shard in read_plan(layout.plan) if shard.shard_id not in known_ids]
    write_plan(layout.plan, [*known, *added], layout.temporary(job.run_id, "all.jsonl"))
    of_run = (replace(shard, output_bytes=work.output_bytes.get(shard.shard_id)) for shard in plan.shards)
    write_plan(job.plan_path, of_run, f"{job.plan_path}.part")


def delete_temporary(layout: Layout, run_id: str) -> None:
    """Deletes the temporary files of a run."""
    store.delete_folder(store.join(layout.temporary_folder, run_id))


def _delete_old_temporary(layout: Layout) -> None:
    """Deletes the temporary files of runs that ended, however they did, a day ago."""
    newest: dict[str, float] = {}
    for metadata in store.files_below(layout.temporary_folder):
        old_run = metadata.path.removeprefix(layout.temporary_folder + "/").partition("/")[0]
        newest[old_run] = max(newest.get(old_run, 0.0), metadata.last_updated_in_seconds)
    for old_run, updated in newest.items():
        if time.time() - updated > _TMP_KEPT_SECONDS:
            delete_temporary(layout, old_run)
