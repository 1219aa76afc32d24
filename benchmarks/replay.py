"""`cambeam run` with an engine that costs nothing: it replays predictions that another engine has made of photographs.

    python -m benchmarks.replay record FILE.npz TAR MODEL PREPROCESS
    python -m benchmarks.replay run FILE.npz IMAGES_PER_SECOND [options of cambeam run]

Empty maps would make boxes and thumbnails free. With a speed above zero the engine is a simulated GPU: it takes one
batch at a time and as long for it as a GPU of that speed would. The last line is a `Report` as JSON.
"""

import functools
import json
import os
import resource
import sys
import threading
import time
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from transforms.predict.device import Device
from transforms.predict.engine import Labels, ModelDescription
from transforms.predict.engine_settings import EngineSettings
from transforms.predict.engines import ENGINES, EngineKind, shared_engine
from transforms.records import Predictions

RECORDED = 320  # photographs
CALLS: list[tuple[float, float]] = []  # of the simulated GPU in this process: begin, end


class Report(NamedTuple):
    """What a run took.

    Attributes:
      exit_code: of the command.
      processor_s, peak_mb: of the process.
      busy: share of the time from the simulated GPU's first batch to its last in which it had one.
    """

    exit_code: int
    processor_s: float
    peak_mb: float
    busy: float


class ReplayEngine:
    """Gives the recorded predictions in turn. See `transforms.predict.engine.Engine`."""

    device = Device("an engine that costs nothing", False, "float32", "it computes nothing")
    side_px = 224
    description = ModelDescription("recorded", "none", "none")

    def __init__(self, path: str, images_per_second: float, settings: EngineSettings):
        recorded = dict(np.load(path))
        self.num_classes = int(recorded.pop("num_classes"))
        self._count = len(recorded["class_index"])
        twice = {name: np.concatenate([field, field]) for name, field in recorded.items()}
        self._recorded = Predictions(**twice)
        self._speed, self._next = images_per_second, 0
        self._one_at_a_time = threading.Lock()

    def predict(self, pixels: np.ndarray, labels: Labels) -> Predictions:
        if self._speed:
            with self._one_at_a_time:
                begun = time.perf_counter()
                time.sleep(len(pixels) / self._speed)
                CALLS.append((begun, time.perf_counter()))
        first = self._next
        self._next = (first + len(pixels)) % self._count
        rows = np.arange(first, first + len(pixels)) % (2 * self._count)
        return self._recorded.select(rows)

    predict_piece = predict


def record(path: str, tar_path: str, model: str, preprocess: str) -> None:
    """Labels photographs with a real engine, and keeps what it says of them."""
    from transforms.model.settings import ModelSettings
    from transforms.read.batches import Decoder, read_batches
    from transforms.read.fields import USUAL_FIELDS
    from transforms.read.formats.registry import FORMATS
    from transforms.records import Shard

    engine = shared_engine(EngineSettings(model=ModelSettings(source=model, preprocess=preprocess)))
    shard = Shard("photographs", tar_path, "webdataset", "", 0)
    samples = FORMATS["webdataset"].read(shard, USUAL_FIELDS)
    batch = next(read_batches(shard, samples, Decoder(engine.side_px), RECORDED))
    predictions = engine.predict(batch.pixels, [None] * len(batch.pixels))
    fields = {name: field for name, field in predictions._asdict().items() if field is not None}
    np.savez(path, num_classes=engine.num_classes, **fields)


def run(path: str, images_per_second: float, arguments: list[str]) -> Report:
    """Runs the command."""
    from pipeline import cli

    ENGINES.insert(0, EngineKind(functools.partial(ReplayEngine, path, images_per_second)))
    exit_code = cli.main(["run", *arguments])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Report(exit_code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, busy())


def busy() -> float:
    """Returns the share of the time from the simulated GPU's first call to its last in which there was one."""
    if not CALLS:
        return 0.0
    return sum(end - begin for begin, end in CALLS) / (CALLS[-1][1] - CALLS[0][0])


def main(arguments: list[str]) -> None:
    if arguments[0] == "record":
        record(*arguments[1:])
    else:
        print(json.dumps(run(arguments[1], float(arguments[2]), arguments[3:])._asdict()))


if __name__ == "__main__":
    from benchmarks import replay  # Beam sends the engine's class by the name of its module

    replay.main(sys.argv[1:])
