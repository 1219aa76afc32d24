"""The whole pipeline against the bound of its own stages and against the scripts people write; prints ratios.

    python -m benchmarks.pipeline --images TAR --model PATH.keras [--rounds 5] [--parts bound,scripts]

Runs the real command on shards made of copies of one WebDataset tar, and takes the speed that it prints, which leaves
out the start-up. Parts: bound (the run against cores / sum of the stages' core-seconds), scripts (against
benchmarks/scripts_of_today.py), sizes (images/s and peak memory at 1,000, 4,000 and 16,000 images), workers (1 and 2),
shards (one of 4,000 images against eight of 500).
"""

import argparse
import io
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import rich.console
import rich.table

PARTS = ("bound", "scripts", "sizes", "workers", "shards")
SINGLE_LIMIT = 8  # images for the script that takes seconds for each


class Run(NamedTuple):
    images_per_second: float
    peak_mb: float


class Bench:
    """Shards of a folder, and the command to label them."""

    def __init__(self, folder: pathlib.Path, arguments: argparse.Namespace):
        self.folder, self.arguments = folder, arguments
        with tarfile.open(arguments.images) as tar:
            self.members = [(member, tar.extractfile(member).read()) for member in tar if member.isfile()]
        self.jpegs = [(m, content) for m, content in self.members if m.name.endswith(".jpg")]

    def shards(self, num_shards: int, images_per_shard: int) -> pathlib.Path:
        """Returns a folder of shards that repeat the images."""
        folder = self.folder / f"{num_shards}x{images_per_shard}"
        if not folder.exists():
            folder.mkdir()
            first = folder / "00000.tar"
            with tarfile.open(first, "w") as tar:
                for number in range(images_per_shard):
                    content = self.jpegs[number % len(self.jpegs)][1]
                    member = tarfile.TarInfo(f"{number:06d}.jpg")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
            for number in range(1, num_shards):
                os.link(first, folder / f"{number:05d}.tar")
        return folder

    def run(self, shards: pathlib.Path, *options: str) -> Run:
        """Labels shards with the real command, in a process of its own."""
        with tempfile.TemporaryDirectory(dir=self.folder) as output:
            command = [sys.executable, "-m", "pipeline", "run", "--input", f"{shards}/*.tar", "--output", output]
            command += ["--model", self.arguments.model, "--set", f"model.preprocess={self.arguments.preprocess}"]
            process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
            said = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(said)
        return Run(float(re.search(r"\(([\d.]+) images/s\)", said).group(1)), usage.ru_maxrss / 1024)


def bound(bench: Bench, rounds: int) -> rich.table.Table:
    """Labels 8 shards of 500 images, and measures the stages alone, in turns."""
    from benchmarks import stages
    from transforms.model.settings import ModelSettings
    from transforms.predict.engine_settings import EngineSettings
    from transforms.predict.tensorflow_engine import TensorFlowEngine
    from transforms.worker.threads import num_cores

    model = ModelSettings(source=bench.arguments.model, preprocess=bench.arguments.preprocess)
    engine = TensorFlowEngine(EngineSettings(model=model))
    shards, runs, costs = bench.shards(8, 500), [], []
    for _ in range(rounds):
        costs.append(stages.measure(engine, str(shards / "00000.tar"), str(bench.folder)))
        runs.append(bench.run(shards).images_per_second)
    limits = [cost.bound(num_cores()) for cost in costs]
    table = rich.table.Table("bound", "", title=f"{num_cores()} cores, {engine.device.name}, {engine.device.precision}")
    for name in stages.StageCosts._fields:
        table.add_row(f"{name}, ms of one core per image", f"{statistics.median(getattr(c, name) for c in costs):.2f}")
    table.add_row("bound, images/s", f"{statistics.median(limits):.0f}")
    table.add_row("run, images/s", f"{statistics.median(runs):.0f}")
    ratios = [run / limit for run, limit in zip(runs, limits, strict=True)]
    table.add_row("run / bound", f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return table


def scripts(bench: Bench, rounds: int) -> rich.table.Table:
    """Labels the same 500 images with the scripts of today."""
    shards = bench.shards(8, 500)

    def script(name: str, *options: str) -> float:
        command = [sys.executable, "-m", "benchmarks.scripts_of_today", name, str(shards / "00000.tar")]
        result = subprocess.run([*command, bench.arguments.model, *options], capture_output=True, text=True, check=True)
        return float(result.stdout.split()[-1])

    speeds: dict[str, list[float]] = {"cambeam": [], "batched script": [], "one-image script": []}
    for _ in range(rounds):
        speeds["cambeam"].append(bench.run(shards).images_per_second)
        speeds["batched script"].append(script("batched", "--limit", "320"))
        speeds["one-image script"].append(script("single", "--limit", str(SINGLE_LIMIT)))
    ours = statistics.median(speeds["cambeam"])
    table = rich.table.Table("scripts", "images/s, median (range)", "cambeam is faster by")
    for name, values in speeds.items():
        median = statistics.median(values)
        table.add_row(name, f"{median:.2f} ({min(values):.2f} to {max(values):.2f})", f"{ours / median:.1f}x")
    return table


def sizes(bench: Bench, rounds: int) -> rich.table.Table:
    """Labels more and more shards of 500 images."""
    table = rich.table.Table("images", "images/s", "peak MB")
    for count in (1000, 4000, 16000):
        runs = [bench.run(bench.shards(count // 500, 500)) for _ in range(rounds if count < 16000 else 1)]
        speed, peak = (statistics.median(run[i] for run in runs) for i in (0, 1))
        table.add_row(f"{count:,}", f"{speed:.0f}", f"{peak:.0f}")
    return table


def workers(bench: Bench, rounds: int) -> rich.table.Table:
    """Labels with one and with two threads of Beam's runner."""
    table = rich.table.Table("workers", "images/s")
    for count in (1, 2):
        option = f"--direct_num_workers={count}"
        speeds = [bench.run(bench.shards(8, 500), option).images_per_second for _ in range(rounds)]
        table.add_row(str(count), f"{statistics.median(speeds):.0f}")
    return table


def shards(bench: Bench, rounds: int) -> rich.table.Table:
    """Labels one shard, and as many images in eight."""
    one, many = [], []
    for _ in range(rounds):
        one.append(bench.run(bench.shards(1, 4000)).images_per_second)
        many.append(bench.run(bench.shards(8, 500)).images_per_second)
    table = rich.table.Table("shards", "images/s")
    table.add_row("8 of 500 images", f"{statistics.median(many):.0f}")
    table.add_row("1 of 4,000 images", f"{statistics.median(one):.0f}")
    ratios = [a / b for a, b in zip(one, many, strict=True)]
    table.add_row("one / eight", f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", required=True, help="a WebDataset tar of JPEGs")
    parser.add_argument("--model", required=True)
    parser.add_argument("--preprocess", default="torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default=",".join(PARTS))
    arguments = parser.parse_args()
    console = rich.console.Console()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(pathlib.Path(folder), arguments)
        for part in arguments.parts.split(","):
            console.print(
                {f.__name__: f for f in (bound, scripts, sizes, workers, shards)}[part](bench, arguments.rounds)
            )


if __name__ == "__main__":
    main()
