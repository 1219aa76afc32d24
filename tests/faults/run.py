"""Breaks runs in every way we could think of, and counts the images afterwards: python -m tests.faults.run [--kills N]

Each scenario runs the real command in processes of its own and ends with every image exactly once in images or rejects,
with the columns of an undisturbed run; or with an error that says what to do, and a rerun that gets there.
"""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.dataset

from tests.factories import write_scenes

IMAGES_PER_SHARD = 24
TIMEOUT_SECONDS = 1200


class Bench:
    """A folder with input shards, and an undisturbed run of them to compare with."""

    def __init__(self, folder: pathlib.Path, num_shards: int):
        self.folder, self.num_shards = folder, num_shards
        self.input = folder / "in"
        self.input.mkdir()
        first = write_scenes(self.input / "shard-0000.tar", range(IMAGES_PER_SHARD))
        for number in range(1, num_shards):
            os.link(first, self.input / f"shard-{number:04d}.tar")
        self.expected = self.rows(self.finish("undisturbed"))

    def command(self, output: str | pathlib.Path, *options: str) -> list[str]:
        program = [sys.executable, "-m", "pipeline", "run", "--model", "demo", "--input", f"{self.input}/*.tar"]
        return [*program, "--output", str(self.folder / output), *options]

    def start(self, output: str | pathlib.Path, *options: str) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(output, *options), stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def finish(self, output: str | pathlib.Path, *options: str, code: int = 0) -> pathlib.Path:
        """Runs the command to its end, expects its exit code, and returns the output folder."""
        result = subprocess.run(
            self.command(output, *options), stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS
        )
        check(result.returncode == code, f"exit code {result.returncode}, expected {code}: {result.stderr}")
        check("Traceback" not in result.stderr, f"a traceback at the user: {result.stderr}")
        self.message = result.stderr
        return self.folder / output

    def rows(self, output: pathlib.Path) -> pa.Table:
        table = pyarrow.dataset.dataset(output / "images").to_table()
        return table.sort_by([("shard_id", "ascending"), ("index_in_shard", "ascending")])

    def check_complete(self, output: pathlib.Path) -> None:
        check((output / "_SUCCESS").exists(), "no _SUCCESS")
        check(self.rows(output).equals(self.expected), "the rows differ from an undisturbed run's")

    def wait_for_shards(self, output: str | pathlib.Path, process: subprocess.Popen, count: int = 1) -> None:
        """Waits until `count` files are committed, or the process has ended."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while process.poll() is None and len(markers(self.folder / output)) < count:
            check(time.monotonic() < deadline, "no shard was committed in time")
            time.sleep(0.02)


class SkippedError(Exception):
    """A scenario that can't be staged here; says why."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def markers(output: pathlib.Path) -> dict[str, int]:
    """Returns the modification times of committed files by path."""
    found = {}
    for marker in (output / "_shards").glob("*.json"):
        for path in (marker, output / "images" / f"{marker.stem}.parquet"):
            with contextlib.suppress(FileNotFoundError):
                found[str(path)] = path.stat().st_mtime_ns
    return found


def sigkills(bench: Bench, kills: int) -> str:
    """SIGKILL at random moments of one long run."""
    rng, after_commit, touched = random.Random(1), 0, 0
    for _ in range(kills):
        before = markers(bench.folder / "killed")
        process = bench.start("killed")
        if rng.random() < 0.7:  # while it labels, else anywhere, start-up included
            bench.wait_for_shards("killed", process, len(before) + 1)
            time.sleep(rng.uniform(0, 0.7))
        else:
            time.sleep(rng.uniform(0, 8))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        after = markers(bench.folder / "killed")
        after_commit += len(after) > len(before)
        touched += sum(after.get(path) != changed for path, changed in before.items())
    check(touched == 0, f"{touched} committed files were touched")
    left = bench.num_shards - len(list((bench.folder / "killed" / "_shards").glob("*.json")))
    bench.check_complete(bench.finish("killed"))
    return f"{kills} kills, {after_commit} of them after a new shard, {left} shards left for the last run"


def interrupts(bench: Bench, _: int) -> str:
    """Ctrl-C and SIGTERM."""
    for signum, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = bench.start(f"signal-{code}")
        bench.wait_for_shards(f"signal-{code}", process)
        process.send_signal(signum)
        _, message = process.communicate(timeout=60)
        check(process.returncode == code, f"exit code {process.returncode}, expected {code}: {message}")
        check("run the same command again" in message, f"no word on how to go on: {message}")
        bench.check_complete(bench.finish(f"signal-{code}"))
    return "exit codes 130 and 143, and resumed"


@contextlib.contextmanager
def mounted(folder: pathlib.Path, options: str) -> Iterator[None]:
    """Mounts a small file system.

    Raises:
      SkippedError: this user or this machine may not.
    """
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise SkippedError(result.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def disk_full(bench: Bench, _: int) -> str:
    """The disk is full midway, then is not."""
    output = bench.folder / "full"
    with mounted(output, "size=600k"):
        bench.finish("full", code=1)
        check("No space left" in bench.message, f"the message does not say that the disk is full: {bench.message}")
        subprocess.run(["mount", "-o", "remount,size=100m", output], check=True)
        bench.check_complete(bench.finish("full"))
    return "an error that says so, and resumed"


def read_only(bench: Bench, _: int) -> str:
    """The output can't be written to."""
    with mounted(bench.folder / "read-only", "ro"):
        bench.finish("read-only/labels", code=2)
    check("can't be written" in bench.message, f"unclear: {bench.message}")
    return bench.message.strip().splitlines()[-1][-60:]


def output_removed(bench: Bench, _: int) -> str:
    """The output folder is deleted under the run."""
    process = bench.start("removed")
    bench.wait_for_shards("removed", process)
    shutil.rmtree(bench.folder / "removed", ignore_errors=True)
    _, message = process.communicate(timeout=TIMEOUT_SECONDS)
    check(process.returncode in (0, 1), f"exit code {process.returncode}: {message}")
    if process.returncode == 0:
        check(False, "the run says it is done, though what it had done is gone")
    bench.check_complete(bench.finish("removed"))
    return "an error, and done again"


def shard_replaced(bench: Bench, _: int) -> str:
    """A shard is replaced between two runs, and then put back."""
    path, saved = bench.input / "shard-0000.tar", bench.folder / "saved.tar"
    output = bench.finish("replaced")
    path.rename(saved)
    write_scenes(path, range(500, 503))
    bench.finish("replaced")
    check("changed" in bench.message, f"no notice: {bench.message}")
    count = (bench.num_shards - 1) * IMAGES_PER_SHARD + 3
    check(bench.rows(output).num_rows == count, "the rows of the replaced shard are not the new ones")
    saved.replace(path)
    bench.check_complete(bench.finish("replaced"))
    return "noticed, and done again"


def two_runs(bench: Bench, _: int) -> str:
    """Two runs into one output at the same time."""
    both = [bench.start("shared"), bench.start("shared")]
    for process in both:
        _, message = process.communicate(timeout=TIMEOUT_SECONDS)
        check(process.returncode == 0, f"exit code {process.returncode}: {message}")
    bench.check_complete(bench.folder / "shared")
    return "both end right"


def worker_killed(bench: Bench, _: int) -> str:
    """A worker process is killed."""
    options = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    process = bench.start("workers", *options)
    bench.wait_for_shards("workers", process)
    found = subprocess.run(
        ["pgrep", "-g", str(process.pid), "-f", "sdk_worker_main"], stdout=subprocess.PIPE, text=True
    )
    os.kill(int(found.stdout.split()[-1]), signal.SIGKILL)  # the first ones are the shells around them
    _, message = process.communicate(timeout=TIMEOUT_SECONDS)
    check(process.returncode == 1, f"exit code {process.returncode}: {message}")
    bench.check_complete(bench.finish("workers", *options))
    return "an error, and resumed"


def clock_backwards(bench: Bench, _: int) -> str:
    """The clock went back: all that the first run wrote is of tomorrow."""
    process = bench.start("clock")
    bench.wait_for_shards("clock", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    tomorrow = time.time() + 86_400
    for path in (bench.folder / "clock").rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    bench.check_complete(bench.finish("clock"))
    return "no difference"


SCENARIOS: list[Callable[[Bench, int], str]] = [
    interrupts,
    shard_replaced,
    two_runs,
    worker_killed,
    output_removed,
    clock_backwards,
    read_only,
    disk_full,
    sigkills,
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--shards", type=int, help="default: as many as last for the kills")
    parser.add_argument("--only", choices=[scenario.__name__ for scenario in SCENARIOS])
    arguments = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job would pass on that it is ignored
    failed = 0
    for scenario in SCENARIOS:
        if arguments.only not in (None, scenario.__name__):
            continue
        num_shards = arguments.shards or (4 * arguments.kills if scenario is sigkills else 12)
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            try:
                outcome = scenario(Bench(pathlib.Path(folder), num_shards), arguments.kills)
            except SkippedError as reason:
                outcome = f"SKIPPED: {reason}"
            except (AssertionError, subprocess.SubprocessError) as error:
                failed, outcome = failed + 1, f"FAILED: {error}"
        print(f"{scenario.__name__:16} {time.monotonic() - started:6.0f} s  {outcome}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
