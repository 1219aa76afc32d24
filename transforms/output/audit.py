"""The last step: every planned shard is done and every image accounted for, or the run fails and says which is not."""

import dataclasses
import datetime
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from transforms.output.commit import OvertakenError, check_in_force, read_marker
from transforms.output.layout import IMAGES, MARKERS, REJECTS, Layout
from transforms.output.row_files import wrong_sizes
from transforms.output.settings import FailureSettings
from transforms.records import ShardDone
from transforms.store import files as store

_NAMED_PROBLEMS = 10  # of many, so that the totals stay small


class AuditError(RuntimeError):
    """Shards are missing, or images are."""


@dataclass(frozen=True)
class Totals:
    """Sums over shards, and what is wrong with any of them."""

    shards: int = 0
    read: int = 0
    written: int = 0
    rejected: int = 0
    rejects_by_type: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    ignored: int = 0
    precisions: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    num_problems: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.shards + other.shards,
            self.read + other.read,
            self.written + other.written,
            self.rejected + other.rejected,
            _add(self.rejects_by_type, other.rejects_by_type),
            _add(self.seconds, other.seconds),
            self.ignored + other.ignored,
            self.precisions | other.precisions,
            self.devices | other.devices,
            (self.problems + other.problems)[:_NAMED_PROBLEMS],
            self.num_problems + other.num_problems,
        )

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["problems"], values["num_problems"]
        return values | {"precisions": sorted(self.precisions), "devices": sorted(self.devices)}


def check_shard(
    shard_id: str,
    planned: int,
    done: list[ShardDone],
    present: Mapping[str, int],
    read_again: Callable[[str], ShardDone | None] = lambda shard_id: None,
) -> Totals:
    """Returns one shard's totals, with what is wrong with it.

    Args:
      planned, done: how often it was planned, and what was said of it when it was done.
      present: the folders in which it had a file when all were done, with its bytes; what was done may have been
        deleted since.
      read_again: reads its marker, where another run may have done it too since.
    """
    if not planned and not done:
        return Totals()  # of another input
    if not planned:
        return Totals(problems=(f"{shard_id} was done but not planned",), num_problems=1)
    if not done:
        return Totals(problems=(f"{shard_id} was not done",), num_problems=1)
    if planned > 1:
        return Totals(problems=(f"{shard_id} is planned {planned} times",), num_problems=1)
    shard = done[0]
    problems = _problems(shard, present, read_again)
    return Totals(
        1,
        shard.read,
        shard.written,
        shard.rejected,
        shard.rejects_by_type,
        shard.seconds,
        shard.ignored,
        frozenset([shard.precision] if shard.precision else []),
        frozenset([shard.device] if shard.device else []),
        problems,
        len(problems),
    )


def _problems(
    shard: ShardDone, present: Mapping[str, int], read_again: Callable[[str], ShardDone | None]
) -> tuple[str, ...]:
    """Returns what is wrong with a shard that was done, one thing at most."""
    shard_id = shard.shard_id
    if MARKERS not in present:
        return (f"{shard_id} was done, but is gone from the output: run the same command again",)
    sizes = present.get(IMAGES, 0), present.get(REJECTS, 0)
    if wrong_sizes(shard, *sizes):
        current = read_again(shard_id) or shard
        if current.fingerprint != shard.fingerprint:
            return (f"{shard_id} was done again with other settings: run the command of these again",)
        if wrong := wrong_sizes(current, *sizes):
            lost = " and ".join(f"{folder}/{shard_id}.parquet" for folder in wrong)
            way_out = f"restore that, or delete {MARKERS}/{shard_id}.json and run the same command again"
            return (f"{shard_id} has lost {lost}, or a part of it: {way_out}",)
    if shard.read != shard.written + shard.rejected:
        return (f"{shard_id} has {shard.read} images, but {shard.written} rows and {shard.rejected} rejects",)
    return ()


@dataclass
class Audit(beam.PTransform):
    """Compares the planned shards with those done, and ends the run: writes _run.json and, last, _SUCCESS.

    Args:
      output: the output folder.
      run_id: of this run.
      settings: how many images may be rejected; where more are there is no _SUCCESS.
      about: goes into _run.json as it is.
    """

    output: str
    run_id: str
    settings: FailureSettings
    about: dict[str, Any]

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, planned_and_done: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        planned, done = planned_and_done
        layout = Layout(self.output)
        return (
            {
                "planned": planned | "PlannedIds" >> beam.Map(lambda shard: (shard.shard_id, 1)),
                "done": done | "DoneIds" >> beam.Map(lambda shard: (shard.shard_id, shard)),
                # one listing when all is done, since a store takes a thousand times as long to be asked for each file
                "present": done
                | "WhenAllAreDone" >> beam.combiners.Count.Globally()
                | "ListFiles" >> beam.FlatMap(lambda _: layout.present()),
            }
            | "Compare" >> beam.CoGroupByKey()
            | "CheckShard"
            >> beam.MapTuple(
                lambda key, found: check_shard(
                    key,
                    len(list(found["planned"])),
                    list(found["done"]),
                    dict(found["present"]),
                    functools.partial(read_marker, layout),
                )
            )
            | "Sum" >> beam.CombineGlobally(_sum)
            | "Finish" >> beam.Map(finish, layout, self.run_id, self.settings, self.about)
        )


def finish(totals: Totals, layout: Layout, run_id: str, settings: FailureSettings, about: dict[str, Any]) -> Totals:
    """Writes _run.json and, where not too much was rejected, _SUCCESS.

    Raises:
      AuditError: a shard is missing or has lost images; there is no _SUCCESS then.
      OvertakenError: the output is no longer this run's; what lies in it is another's to finish.
    """
    of_run = about["fingerprint"]
    check_in_force(layout, of_run)
    if totals.num_problems:
        store.delete(layout.success)
        more = f", and {totals.num_problems - len(totals.problems)} more" * (totals.num_problems > len(totals.problems))
        raise AuditError(f"the output is not complete: {'; '.join(totals.problems)}{more}")
    finished = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    summary = {"run_id": run_id, "finished": finished, **totals.to_json(), **about}
    store.write_json(layout.summary, summary, layout.temporary(run_id, "run.json"))
    if totals.rejected <= settings.max_fraction * totals.read:
        # not empty, since Beam can't write an empty file to S3
        store.write_bytes(layout.success, b"\n", layout.temporary(run_id, "success"))
        _withdraw_if_overtaken(layout, of_run)
    else:
        store.delete(layout.success)
    return totals


def _withdraw_if_overtaken(layout: Layout, of_run: str) -> None:
    """Takes _SUCCESS back where another run has begun to replace rows while it was written."""
    try:
        check_in_force(layout, of_run)
    except OvertakenError:
        store.delete(layout.success)
        raise


def _sum(totals: Iterable[Totals]) -> Totals:
    return sum(totals, Totals())


def _add(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in sorted(a.keys() | b.keys())}
