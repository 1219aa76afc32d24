"""The path around the model: how many images one process of cambeam hands to an engine that costs nothing.

    python -m benchmarks.host --images TAR [--model PATH.keras --preprocess torch] [--few 4000] [--many 12000]

Runs the real command on JPEGs of 227 and of 500x375 pixels, on one core and on all of them, each time on few and on
many images: what one more image takes is the slope between the two, so that the start does not count. `py-spy record
--gil` (`pip install '.[bench]'`) says how long Python's lock is held. What one process can hand over on however many
cores follows from both: from the lock, and from the part of an image's time that a second core does not halve (Amdahl).
Then a simulated GPU of four fifths of what all cores can feed: the share of the time in which it has a batch.
"""

import argparse
import io
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
from typing import NamedTuple

import numpy as np
import PIL.Image
import rich.console
import rich.table

SIZES = {"227x227": (227, 227), "500x375": (500, 375)}
GPU_SHARE = 0.8  # of the host's limit
SHARDS = 4
_LOCK_SECONDS, _LOCK_RATE = 8, 500  # for how long py-spy looks, and how often in a second


class Run(NamedTuple):
    """One run: seconds of labelling, processor seconds of the process, its peak memory, the simulated GPU's share."""

    seconds: float
    processor_s: float
    peak_mb: float
    busy: float


class Speed(NamedTuple):
    """What one more image takes, in milliseconds of the clock and of processors; the peak memory of the larger run."""

    clock_ms: float
    processor_ms: float
    peak_mb: float


class Bench:
    """Shards of a folder, recorded predictions, and the command that labels the shards with them."""

    def __init__(self, folder: pathlib.Path, arguments: argparse.Namespace):
        self.folder, self.arguments = folder, arguments
        self.recorded = str(folder / "recorded.npz")
        model = [arguments.model, arguments.preprocess]
        _module("benchmarks.replay", "record", self.recorded, arguments.images, *model)
        with tarfile.open(arguments.images) as tar:
            members = [member for member in tar if member.name.lower().endswith((".jpg", ".jpeg"))]
            self._photos = [tar.extractfile(member).read() for member in members]

    def shards(self, size: str, images: int, num_shards: int = SHARDS) -> pathlib.Path:
        """Returns a folder of shards that repeat the photographs at a size."""
        folder = self.folder / f"{size}-{images}-{num_shards}"
        if not folder.exists():
            folder.mkdir()
            jpegs = [_jpeg(photo, SIZES[size]) for photo in self._photos]
            with tarfile.open(folder / "0.tar", "w") as tar:
                for number in range(images // num_shards):
                    member = tarfile.TarInfo(f"{number:06d}.jpg")
                    member.size = len(jpegs[number % len(jpegs)])
                    tar.addfile(member, io.BytesIO(jpegs[number % len(jpegs)]))
            for number in range(1, num_shards):
                os.link(folder / "0.tar", folder / f"{number}.tar")
        return folder

    def start(self, shards: pathlib.Path, output: str, cores: set[int], images_per_second: float = 0, *options: str):
        """Starts the command on some of the cores."""
        command = [sys.executable, "-m", "benchmarks.replay", "run", self.recorded, str(images_per_second)]
        command += ["--input", f"{shards}/*.tar", "--output", output, *self.arguments.option, *options]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )

    def run(self, shards: pathlib.Path, cores: set[int], images_per_second: float = 0, *options: str) -> Run:
        """Labels shards in a process of its own."""
        with tempfile.TemporaryDirectory(dir=self.folder) as output:
            printed, said = self.start(shards, output, cores, images_per_second, *options).communicate()
        labelled = re.search(r"images labelled in ([\d.]+) s", said)
        if not labelled:
            raise RuntimeError(said)
        report = json.loads(printed.splitlines()[-1])
        return Run(float(labelled[1]), report["processor_s"], report["peak_mb"], report["busy"])

    def speed(self, size: str, cores: set[int]) -> Speed:
        """Returns the slope between few images and many, the median of the rounds."""
        few, many = self.arguments.few, self.arguments.many
        slopes = []
        for _ in range(self.arguments.rounds):
            small, large = (self.run(self.shards(size, images), cores) for images in (few, many))
            clock, processor = (1000 * (large[i] - small[i]) / (many - few) for i in (0, 1))
            slopes.append(Speed(clock, processor, large.peak_mb))
        return Speed(*(statistics.median(values) for values in zip(*slopes, strict=True)))

    def lock_ms(self, size: str, cores: set[int], clock_ms: float) -> float | None:
        """Returns for how long Python's lock is held for an image; None where py-spy is not installed."""
        try:
            subprocess.run(["py-spy", "--version"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        with tempfile.TemporaryDirectory(dir=self.folder) as output:
            process = self.start(self.shards(size, self.arguments.many), output, cores)
            while not any((pathlib.Path(output) / "_tmp").glob("*/*images*")):
                if process.poll() is not None:
                    raise RuntimeError(process.stderr.read())
            stacks = os.path.join(output, "stacks")
            looks = ["--gil", "--rate", str(_LOCK_RATE), "--duration", str(_LOCK_SECONDS), "--nonblocking"]
            look = ["py-spy", "record", *looks, "--format", "raw", "--output", stacks, "--pid", str(process.pid)]
            subprocess.run(look, capture_output=True, check=True)
            held = sum(int(line.rpartition(" ")[2]) for line in pathlib.Path(stacks).read_text().splitlines())
            process.kill()
            process.communicate()
        return held / (_LOCK_RATE * _LOCK_SECONDS) * clock_ms

    def busy(self, size: str, cores: set[int], images_per_second: float, num_shards: int, *options: str) -> float:
        """Returns the share of the time in which a simulated GPU has a batch."""
        shards = self.shards(size, self.arguments.few, num_shards)
        rounds = range(self.arguments.rounds)
        return statistics.median(self.run(shards, cores, images_per_second, *options).busy for _ in rounds)


def _jpeg(photo: bytes, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.open(io.BytesIO(photo)).convert("RGB").resize(size).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _module(*command: str) -> None:
    subprocess.run([sys.executable, "-m", *command], check=True)


def _serial_ms(one: Speed, all_cores: Speed, cores: int) -> float:
    """Returns s of one = s + p and all = s + p / cores: what more cores do not shorten; not below zero."""
    return max((cores * all_cores.clock_ms - one.clock_ms) / (cores - 1), 0.0) if cores > 1 else float("nan")


def _stages(bench: Bench) -> rich.table.Table:
    from benchmarks import stages
    from benchmarks.replay import ReplayEngine
    from transforms.predict.engine_settings import EngineSettings

    engine = ReplayEngine(bench.recorded, 0, EngineSettings())
    table = rich.table.Table("stage", *SIZES, title="processor time, ms per image")
    tars = [str(bench.shards(size, bench.arguments.few) / "0.tar") for size in SIZES]
    costs = [stages.measure(engine, tar, str(bench.folder)) for tar in tars]
    for name in stages.StageCosts._fields:
        table.add_row(name, *(f"{getattr(cost, name):.2f}" for cost in costs))
    return table


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, help="a WebDataset tar of photographs")
    parser.add_argument("--model", default="demo", help="whose predictions are recorded")
    parser.add_argument("--preprocess", default="auto")
    parser.add_argument("--few", type=int, default=4000)
    parser.add_argument("--many", type=int, default=12000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--option", action="append", default=[], help="of cambeam run, e.g. --option=--set=...")
    return parser.parse_args()


def main() -> None:
    arguments = _parse()
    console = rich.console.Console()
    all_cores = os.sched_getaffinity(0)
    one_core = {min(all_cores)}
    table = rich.table.Table("", *SIZES, title=f"an engine that costs nothing, one process, {len(all_cores)} cores")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(pathlib.Path(name), arguments)
        console.print(_stages(bench))
        one = {size: bench.speed(size, one_core) for size in SIZES}
        many = {size: bench.speed(size, all_cores) for size in SIZES}
        serial = {size: _serial_ms(one[size], many[size], len(all_cores)) for size in SIZES}
        lock = {size: bench.lock_ms(size, all_cores, many[size].clock_ms) for size in SIZES}
        rows = {
            "one core, images/s": [1000 / one[size].clock_ms for size in SIZES],
            "all cores, images/s": [1000 / many[size].clock_ms for size in SIZES],
            "processor time per image, ms": [many[size].processor_ms for size in SIZES],
            "what more cores do not shorten, ms": list(serial.values()),
            "Python's lock held per image, ms": [np.nan if held is None else held for held in lock.values()],
            "peak memory, MB": [many[size].peak_mb for size in SIZES],
        }
        for label, values in rows.items():
            table.add_row(label, *(f"{value:.3g}" if value < 10 else f"{value:.0f}" for value in values))
        console.print(table)
        first = next(iter(SIZES))
        gpu = GPU_SHARE * 1000 / many[first].clock_ms
        busy = {count: bench.busy(first, all_cores, gpu, count) for count in (1, 8)}
    held = lock[first]
    limit = 1000 / max(serial[first], held or 0.0, 1e-9)
    console.print(f"simulated GPU of {gpu:.0f} images/s: busy {busy[1]:.3f} with one shard, {busy[8]:.3f} with eight")
    console.print(
        f"limit of one process: {limit:.0f} images/s; GIL {'?' if held is None else f'{held:.2f}'} ms per image; "
        f"all cores {one[first].clock_ms / many[first].clock_ms:.2f} times one; "
        f"simulated GPU busy {min(busy.values()):.2f}"
    )


if __name__ == "__main__":
    main()
