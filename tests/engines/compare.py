"""Labels one input on every engine with the real command and compares the rows: `python -m tests.engines.compare`.

Prints a table. Then the same on clusters that lose a worker in the middle of the run. Ends with 1 where rows differ.
"""

import argparse
import contextlib
import functools
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset
import rich.box
import rich.console
import rich.table

from tests.engines.flink import flink_mini, flink_standalone
from tests.engines.portable import prism, python_job_service
from tests.engines.processes import Engine
from tests.engines.spark import spark_local, spark_standalone
from tests.engines.workers import ROOT, worker_pools
from tests.factories import write_scenes

SHARDS, IMAGES_PER_SHARD = 12, 12
_RUN_SECONDS = 400


@contextlib.contextmanager
def in_pools(start: Callable, pools: int = 1) -> Iterator[Engine]:
    """Runs an engine whose workers come from pools."""
    with worker_pools(pools) as running, start(running.address) as engine:
        engine.pools = running
        yield engine


ENGINES: dict[str, Callable] = {
    "Prism, LOOPBACK": prism,
    "Python job service, EXTERNAL": lambda: in_pools(python_job_service),
    "Flink, mini cluster, EXTERNAL": lambda: in_pools(flink_mini),
    "Flink, 2 task managers, EXTERNAL": lambda: in_pools(flink_standalone, 2),
    "Spark, local[2], EXTERNAL": lambda: in_pools(spark_local),
    "Spark, 2 workers, PROCESS": lambda: spark_standalone("PROCESS"),
}
LOSSES: dict[str, tuple[Callable, Callable[[Engine], None]]] = {
    "Flink, a task manager is killed": (
        lambda: flink_standalone("PROCESS"),
        lambda engine: engine.processes["task-manager-0"].kill(),
    ),
    "Flink, a worker pool is killed and replaced": (
        lambda: in_pools(flink_standalone, 2),
        lambda engine: engine.pools.replace(0),
    ),
    "Spark, a worker is killed": (
        lambda: spark_standalone("PROCESS"),
        lambda engine: engine.processes["worker-0"].kill(),
    ),
}


def command(source: str, output: pathlib.Path, *options: str) -> list[str]:
    """Returns the real command; the precision is pinned, so that all workers compute alike."""
    words = [sys.executable, "-m", "pipeline", "run", "--input", source, "--output", str(output)]
    return [*words, "--model", "demo", "--set", "model.precision=float32", *options]


def rows(output: pathlib.Path) -> pa.Table:
    """Returns all rows and columns, in the order of the shards."""
    table = pyarrow.dataset.dataset(output / "images").to_table()
    return table.sort_by([("shard_id", "ascending"), ("index_in_shard", "ascending")])


def markers(output: pathlib.Path) -> dict[str, int]:
    """Returns when each shard was done, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in (output / "_shards").glob("*.json")}


@dataclass
class Labelled:
    """What a run came to.

    Attributes:
      table: of all rows; None if the run failed.
      said: by the command.
      done: shards that were done when harm was done.
      redone: how many of them were done once more.
    """

    seconds: float
    table: pa.Table | None
    said: str
    done: int = 0
    redone: int = 0


def label(source: str, output: pathlib.Path, options: list[str], harm: Callable[[], None] | None = None) -> Labelled:
    """Runs the command, and does harm once a quarter of the shards is done."""
    started, before = time.monotonic(), {}
    job = subprocess.Popen(command(source, output, *options), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while harm and len(before) < SHARDS // 4 and job.poll() is None:
        time.sleep(0.02)
        before = markers(output)
    if before and harm:
        harm()
    try:
        _, said = job.communicate(timeout=_RUN_SECONDS)
    except subprocess.TimeoutExpired:
        job.kill()
        _, said = job.communicate()
    done = job.returncode == 0 and (output / "_SUCCESS").exists()
    after = markers(output)
    redone = sum(after.get(name) != time_ns for name, time_ns in before.items())
    return Labelled(time.monotonic() - started, rows(output) if done else None, said, len(before), redone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only engines with one of these in the name")
    words = parser.parse_args().words
    console = rich.console.Console(width=150)
    columns = ("engine", "seconds", "rows", "equal to in-process, all columns", "done at the kill", "of them redone")
    table = rich.table.Table(*columns, box=rich.box.MARKDOWN)
    all_equal = True
    with tempfile.TemporaryDirectory(prefix="cambeam-compare-") as name:
        folder = pathlib.Path(name)
        for number in range(SHARDS):
            first = number * IMAGES_PER_SHARD
            write_scenes(folder / f"scenes-{number:02d}.tar", range(first, first + IMAGES_PER_SHARD))
        source = str(folder / "*.tar")
        undisturbed = label(source, folder / "in-process", [])
        table.add_row("in-process", f"{undisturbed.seconds:.0f}", str(len(undisturbed.table)), "")
        cases = {name: (start, None) for name, start in ENGINES.items()} | LOSSES
        for number, (name, (start, harm)) in enumerate(cases.items()):
            if words and not any(word in name for word in words):
                continue
            with start() as engine:
                hurt = functools.partial(harm, engine) if harm else None
                got = label(source, folder / f"out-{number}", engine.options, hurt)
            equal = got.table is not None and got.table.equals(undisturbed.table)
            count = len(got.table) if got.table is not None else 0
            row = [name, f"{got.seconds:.0f}", str(count), "yes" if equal else "NO"]
            row += [f"{got.done} of {SHARDS} shards", str(got.redone)] if harm else []
            console.print(*row, highlight=False)
            if not equal:
                console.print(got.said, markup=False, highlight=False)
            all_equal &= equal and (harm is None or 0 < got.done < SHARDS)
            table.add_row(*row)
    console.print(table)
    sys.exit(not all_equal)


if __name__ == "__main__":
    main()
