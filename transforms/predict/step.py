"""Inference as a step of the pipeline: a ModelHandler under Beam's RunInference."""

import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from transforms.predict import checks
from transforms.predict.engine import Engine, Labels
from transforms.predict.engine_settings import EngineSettings
from transforms.predict.engines import engine_builder, shared_engine
from transforms.records import ErrorType, Predictions, Reject, ShardBatch, Stage
from transforms.worker import metrics
from transforms.worker.background import then


class CamModelHandler(ModelHandler[ShardBatch, ShardBatch, Engine]):
    """Adds predictions to batches. An element is a batch already, of one shard; one without images skips the model.

    The model is called in the background, while the chain goes on. A batch that it fails on is halved until the images
    that cause it are alone; those become rejects.
    """

    def __init__(self, settings: EngineSettings):
        super().__init__()
        self._settings, self._build = settings, engine_builder(settings)

    def load_model(self) -> Engine:
        return shared_engine(self._settings, self._build)

    def should_skip_batching(self) -> bool:
        return True

    def run_inference(  # type: ignore[override]  # RunInference hands over the elements themselves: they are batches
        self, batch: ShardBatch, model: Engine, inference_args: dict[str, Any] | None = None
    ) -> Sequence[ShardBatch]:
        return [then(batch, functools.partial(label_batch, model=model))]

    def get_num_bytes(self, batch: ShardBatch) -> int:  # type: ignore[override]
        return 0 if batch.pixels is None else batch.pixels.nbytes

    def get_metrics_namespace(self) -> str:
        return metrics.NAMESPACE


def label_batch(batch: ShardBatch, model: Engine) -> ShardBatch:
    """Returns the batch with its predictions; images that can't be labelled have become rejects."""
    if batch.pixels is None:
        return batch
    started = time.perf_counter()
    labels = [image.label for image in batch.images]
    rows, predictions, failures = predict_or_bisect(model, batch.pixels, labels)
    rejected = [
        Reject(image.image_id, image.uri, image.index_in_shard, Stage.PREDICT, *failures[row])
        for row, image in enumerate(batch.images)
        if row in failures
    ]
    return batch.after(
        "predict",
        started,
        images=[batch.images[row] for row in rows],
        pixels=None,
        predictions=predictions,
        rejects=sorted(batch.rejects + rejected, key=lambda reject: reject.index_in_shard),
        precision=model.device.precision,
        device=model.device.name,
    )


class Failure(NamedTuple):
    """Why an image got no prediction."""

    error_type: ErrorType
    message: str


def predict_or_bisect(
    model: Engine, pixels: np.ndarray, labels: Labels
) -> tuple[list[int], Predictions | None, dict[int, Failure]]:
    """Labels what can be labelled of a batch; a batch that fails is halved until the cause is alone.

    Returns:
      The rows that succeeded, their predictions (None if there are none), and why each other row failed.

    Raises:
      RuntimeError: every image fails, and so do images that nothing is wrong with: it is the model or the machine.
    """
    parts: list[Predictions] = []
    rows: list[int] = []
    failures: dict[int, Failure] = {}

    def label(start: int, stop: int) -> None:
        try:
            predictions = model.predict(pixels[start:stop], labels[start:stop])
        except Exception as error:  # whatever the model raises; its cause is found, not swallowed
            if stop - start > 1:
                middle = (start + stop) // 2
                label(start, middle)
                label(middle, stop)
            else:
                failures[start] = Failure(ErrorType.INFERENCE_FAILED, f"{type(error).__name__}: {error}"[:500])
            return
        finite = np.isfinite(predictions.logit).all(axis=1) & np.isfinite(predictions.cams).all(axis=(1, 2, 3))
        for row in np.flatnonzero(~finite):
            failures[start + int(row)] = Failure(ErrorType.NOT_FINITE, "the model gave NaN or infinity")
        rows.extend(start + int(row) for row in np.flatnonzero(finite))
        parts.append(predictions.select(finite))

    label(0, len(pixels))
    if [failure.error_type for failure in failures.values()].count(ErrorType.INFERENCE_FAILED) == len(pixels):
        good = checks.trial_images(model.side_px)
        try:
            model.predict(good, [None] * len(good))
        except Exception as error:
            raise RuntimeError(f"the model fails on every image: {failures[0].message}") from error
    return rows, Predictions.concatenate(parts) if rows else None, failures
