"""What many shards cost the launcher and the audit: a real run of tiny shards with a fake model; prints seconds and MB.

    python -m benchmarks.scale [--shards 10000] [--skew 100]

Real are the plan, the graph, the commit protocol, the files on the local disk, resuming and the audit. Fake are the
reader, which gives every shard one small image (one shard `skew` times as many), and the model, which sleeps.
"""

import argparse
import contextlib
import dataclasses
import os
import pathlib
import resource
import tempfile
import time
from collections.abc import Iterator
from unittest import mock

import cv2
import numpy as np
import rich.console
import rich.table

from pipeline import config
from pipeline.run import labelling
from pipeline.run.command import run
from transforms.model.demo import CLASS_NAMES
from transforms.predict.device import Device
from transforms.predict.engine import Labels, ModelDescription
from transforms.predict.engine_settings import EngineSettings
from transforms.predict.engines import ENGINES, EngineKind
from transforms.read.formats.registry import FORMATS
from transforms.records import Predictions, Sample, Shard

IMAGE_SECONDS = 0.002  # of the fake model: 500 images/s on each worker, about what a GPU does at the end of a pipeline
HEAVY = "shard-000000"
_SKEWED_SHARDS = 400


class FakeEngine:
    """Takes as long as a model would, and says that everything is of the first class."""

    device = Device("a fake", is_gpu=False, precision="float32", reason="a benchmark")
    description = ModelDescription("a fake", head="none", preprocess="none")
    side_px, num_classes = 32, len(CLASS_NAMES)

    def __init__(self, settings: EngineSettings):
        """Needs no settings: every fake is the same."""

    def predict(self, pixels: np.ndarray, labels: Labels) -> Predictions:
        count = len(pixels)
        time.sleep(IMAGE_SECONDS * count)
        zeros = np.zeros((count, 1), np.int32)
        cams = np.zeros((count, 1, 7, 7), np.float32)
        cams[..., 2:5, 2:5] = 1
        half = np.full((count, 1), 0.5, np.float32)
        return Predictions(zeros, half, zeros.astype(np.float32), zeros, np.ones((count, 1), bool), cams)


def make_input(folder: pathlib.Path, shards: int) -> str:
    """Makes empty shard files, which the fake reader fills; returns the pattern of them."""
    folder.mkdir(parents=True)
    for number in range(shards):
        (folder / f"shard-{number:06d}.tar").touch()
    return f"{folder}/*.tar"


@contextlib.contextmanager
def fakes(skew: int) -> Iterator[None]:
    """Puts the fake reader and the fake model in place of the real ones."""
    encoded = cv2.imencode(".jpg", np.full((32, 32, 3), 90, np.uint8))[1].tobytes()

    def read(shard: Shard, fields=None, ignored=None):
        for number in range(skew if HEAVY in shard.uri else 1):
            yield Sample(str(number), f"{shard.uri}#{number}", encoded)

    engine = EngineKind(FakeEngine)
    ENGINES.insert(0, engine)
    with mock.patch.dict(FORMATS, webdataset=dataclasses.replace(FORMATS["webdataset"], read=read)):
        yield
    ENGINES.remove(engine)


@contextlib.contextmanager
def timed(seconds: dict[str, float], module, *names: str) -> Iterator[None]:
    """Adds up how long functions of a module take."""

    def wrap(name: str, function):
        def wrapper(*args, **kwargs):
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started

        return wrapper

    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(module, name, wrap(name, getattr(module, name))))
        yield


def label(pattern: str, output: str, *options: str) -> dict[str, float]:
    """Runs the command's inside; returns the seconds of its parts and of all."""
    values = {"input": {"pattern": pattern}, "output": {"path": output}, "model": {"source": "demo"}}
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    with timed(seconds, labelling, "make_plan", "find_work", "prepare"), open(os.devnull, "w") as nowhere:
        console = rich.console.Console(file=nowhere)
        code = run(config.parse(values), options, labelling.RunFlags(), console)
    if code:
        raise RuntimeError(f"the run ended with exit code {code}")
    return seconds | {"all": time.perf_counter() - started}


def peak_mb() -> float:
    """The largest memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--skew", type=int, default=100, help="how many times as large the first shard is")
    arguments = parser.parse_args()
    table = rich.table.Table("run", "plan s", "resume scan s", "label and audit s", "all s", "peak MB")
    with tempfile.TemporaryDirectory() as folder, fakes(arguments.skew):
        pattern = make_input(pathlib.Path(folder, "in"), arguments.shards)
        few = make_input(pathlib.Path(folder, "few"), 1)

        def measure(name: str, pattern: str, output: str) -> None:
            seconds = label(pattern, f"{folder}/{output}")
            plan, scan, whole = seconds["make_plan"], seconds["find_work"] + seconds["prepare"], seconds["all"]
            figures = (plan, scan, whole - plan - scan, whole)
            table.add_row(name, *(f"{figure:.2f}" for figure in figures), f"{peak_mb():.0f}")

        measure("1 shard (warm-up)", few, "out-few")
        measure(f"{arguments.shards} shards", pattern, "out")
        measure("the same again: nothing left", pattern, "out")
        pattern = make_input(pathlib.Path(folder, "skewed"), _SKEWED_SHARDS)
        heavy = label(few, f"{folder}/out-heavy")["all"]
        both = label(pattern, f"{folder}/out-skewed")["all"]
    with tempfile.TemporaryDirectory() as folder, fakes(skew=1):
        even = label(make_input(pathlib.Path(folder, "in"), _SKEWED_SHARDS), f"{folder}/out")["all"]
    rich.console.Console().print(table)
    print(
        f"skew: {_SKEWED_SHARDS} shards of one size take {even:.1f} s; with one of them {arguments.skew} times as "
        f"large, which alone takes {heavy:.1f} s, they take {both:.1f} s"
    )


if __name__ == "__main__":
    main()
