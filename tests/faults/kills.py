"""Kills many runs at random moments, of one output and of two with different settings that overlap.

    python -m tests.faults.kills [--kills 200] [--overlapping 100] [--seed 0]

Each run is a process of its own with the real plan, graph, commit protocol, files, resume and audit. Only reader and
model are fakes, so that a process is up in seconds: `tests.faults.run` kills the real command. Whenever _SUCCESS
stands, all rows must be there, once, and of the settings in force; at the end of all they must be.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from unittest import mock

import pyarrow.dataset
import pyarrow.parquet as pq
import rich.console

from benchmarks.scale import FakeEngine, make_input
from pipeline import config
from pipeline.run.command import run
from pipeline.run.labelling import RunFlags
from tests.factories import jpeg
from transforms.output.commit import fingerprint
from transforms.output.layout import Layout
from transforms.predict.engines import ENGINES, EngineKind
from transforms.read.formats.registry import FORMATS
from transforms.records import Sample

SHARDS, ROWS, REJECTS = 30, 6, 1
TIMEOUT_S = 300


def label(pattern: str, output: str, quality: str) -> int:
    """Runs the command's inside with a fake reader and a fake model; thumbnails of this quality tell settings apart."""

    def read(shard, fields=None, ignored=None):
        for number in range(ROWS):
            yield Sample(str(number), f"{shard.uri}#{number}", jpeg(number))
        yield Sample("broken", f"{shard.uri}#broken", b"broken")

    values = {
        "input": {"pattern": pattern},
        "output": {"path": output},
        "thumbnails": {"quality": int(quality)},
        "failures": {"max_fraction": 1.0},
        "model": {"source": "demo", "batch_size": 4},
    }
    logging.disable()  # as the command does it
    ENGINES.insert(0, EngineKind(FakeEngine))
    with mock.patch.dict(FORMATS, webdataset=dataclasses.replace(FORMATS["webdataset"], read=read)):
        return run(config.parse(values), [], RunFlags(overwrite=True), rich.console.Console(stderr=True))


class Runs:
    """Processes that label one input into one output."""

    def __init__(self, folder: pathlib.Path):
        self.pattern, self.output = make_input(folder / "in", SHARDS), folder / "out"
        self.layout = Layout(str(self.output))

    def start(self, quality: int) -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.faults.kills", "--label", self.pattern, str(self.output), str(quality)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def finish(self, quality: int) -> None:
        process = self.start(quality)
        _, message = process.communicate(timeout=TIMEOUT_S)
        check(process.returncode == 0, f"exit code {process.returncode}: {message}")
        self.check()
        check(self.is_complete(), "no _SUCCESS")

    def committed(self) -> int:
        return len(list((self.output / "_shards").glob("*.json")))

    def is_complete(self) -> bool:
        return (self.output / "_SUCCESS").exists()

    def check(self) -> None:
        """Checks that markers speak of what lies beside them, and _SUCCESS of everything."""
        files = sorted((self.output / "images").glob("*.parquet"))
        if self.is_complete():
            in_force = fingerprint(json.loads(pathlib.Path(self.layout.settings).read_text()))
            found = {json.loads(pq.read_metadata(path).metadata[b"cambeam"])["fingerprint"] for path in files}
            check(found == {in_force}, f"rows of {found} under _SUCCESS of {in_force}")
            for folder, expected in (("images", ROWS), ("rejects", REJECTS)):
                count = pyarrow.dataset.dataset(self.output / folder).count_rows()
                check(count == SHARDS * expected, f"{count} rows in {folder}")
            check(self.committed() == SHARDS, "a marker is missing")
        for path in (self.output / "_shards").glob("*.json"):
            marker = json.loads(path.read_text())
            file = self.output / "images" / f"{path.stem}.parquet"
            check(file.stat().st_size == marker["images_bytes"], f"{file} is not as its marker says")


def check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.communicate()


def wait_for_more(runs: Runs, process: subprocess.Popen, rng: random.Random) -> None:
    """Waits until a shard more is committed, or the process is at its end, and then for a moment."""
    before, deadline = runs.committed(), time.monotonic() + TIMEOUT_S
    while process.poll() is None and runs.committed() == before and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.2))


def kill_one_run(runs: Runs, kills: int, rng: random.Random) -> str:
    """One run, killed and begun again and again; complete, it begins with other settings."""
    done = ended = 0
    while done < kills:
        quality = 70 + ended % 2
        process = runs.start(quality)
        if rng.random() < 0.8:
            wait_for_more(runs, process, rng)
        else:
            time.sleep(rng.uniform(0, 6))
        if process.poll() is None:
            done += 1
            kill(process)
        else:
            _, message = process.communicate()
            check(process.returncode == 0, f"exit code {process.returncode}: {message}")
            check(runs.is_complete(), "no _SUCCESS")
            ended += 1
        runs.check()
    runs.finish(75)
    return f"one run: {done} kills, {ended} ends"


def kill_overlapping(runs: Runs, kills: int, rng: random.Random) -> str:
    """Two runs with different settings at once, of which one or both are stopped for a while and killed."""
    done = overtaken = ended = 0
    while done < kills:
        both = [runs.start(70)]
        time.sleep(rng.uniform(0, 3))
        both.append(runs.start(71))
        wait_for_more(runs, rng.choice(both), rng)
        stopped = rng.choice(both)
        if stopped.poll() is None and rng.random() < 0.5:
            stopped.send_signal(signal.SIGSTOP)
            time.sleep(rng.uniform(0, 4))
            stopped.send_signal(signal.SIGCONT)
        for process in rng.sample(both, rng.choice((1, 2))):
            if process.poll() is None:
                done += 1
                kill(process)
        for process in both:
            _, message = process.communicate(timeout=TIMEOUT_S)
            ended += process.returncode == 0
            overtaken += process.returncode == 1 and "other settings since this run began" in message
            check(process.returncode in (0, 1, -signal.SIGKILL), f"exit code {process.returncode}: {message}")
            check("Traceback" not in message, message)
        runs.check()
    runs.finish(72)
    return f"overlapping runs: {done} kills, {overtaken} runs overtaken, {ended} ended"


def overtake(runs: Runs) -> str:
    """A run is stopped after six shards, another with other settings runs to its end, and the first goes on."""
    first = runs.start(70)
    while runs.committed() < 6 and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    runs.finish(71)
    first.send_signal(signal.SIGCONT)
    _, message = first.communicate(timeout=TIMEOUT_S)
    check(first.returncode == 1, f"exit code {first.returncode}: {message}")
    check("other settings since this run began" in message, message)
    runs.check()
    lost = SHARDS - runs.committed()
    runs.finish(71)
    return f"overtaken: exit code 1, {lost} shards to do again for the other run"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--overlapping", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.label:
        return label(*arguments.label)
    rng = random.Random(arguments.seed)
    for scenario, *numbers in (
        (overtake,),
        (kill_overlapping, arguments.overlapping, rng),
        (kill_one_run, arguments.kills, rng),
    ):
        with tempfile.TemporaryDirectory() as folder:
            print(scenario(Runs(pathlib.Path(folder)), *numbers), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
