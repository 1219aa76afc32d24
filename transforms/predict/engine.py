"""The compiled inference function: uint8 images in, predictions and class maps out."""

import dataclasses
import functools
import logging
import math
from dataclasses import dataclass

import numpy as np

from transforms.model import load as models
from transforms.predict import checks
from transforms.predict import device as devices
from transforms.records import Predictions
from transforms.worker.threads import num_cores, thread_pool

_MIN_PIECE = 8  # images; smaller pieces cost more than the parallelism gains
_logger = logging.getLogger("cambeam")


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is built from: model and precision, and what is to be computed.

    Attributes:
      source, preprocess: see `model.load`.
      precision: one of `device.PRECISIONS`.
      top_k: classes per image, most probable first.
      include_label: computes the image's own label too.
      logits, embeddings, activations: returns them as well.
      batch_size: images that a GPU gets at a time.
      method, resolution, refine: of the maps, see `model.load`.
      weights: "signed" takes the head's weights as they are; "positive" takes negative ones as 0, in the maps only.
      flip: averages the maps with those of the mirrored image.
    """

    source: str
    preprocess: str = "auto"
    precision: str = "auto"
    top_k: int = 1
    include_label: bool = False
    logits: bool = False
    embeddings: bool = False
    activations: bool = False
    batch_size: int = 32
    method: str = "cam"
    weights: str = "signed"
    resolution: int = 7
    flip: bool = False
    refine: str = "none"


class Engine:
    """A classifier compiled for this machine. Thread-safe; one per process (see `shared_engine`).

    On a CPU a batch is cut into pieces that run in parallel, one thread each: that is faster than one piece with
    several threads per operation, and keeps all cores busy however many shards are in work.
    """

    _max_piece: int  # images that a GPU gets at a time

    def __init__(self, settings: EngineSettings):
        self.settings = settings
        self.device = devices.resolve(settings.precision)
        self.classifier = models.load(
            settings.source, settings.preprocess, settings.method, settings.resolution, settings.refine
        )
        if self.classifier.float32_only and self.device.precision != "float32":
            self.device = self.device._replace(precision="float32", reason="the only one of a SavedModel")
        self.num_classes = self.classifier.head.num_classes
        self._start(use_xla=self.device.is_gpu)

    @property
    def side_px(self) -> int:
        """Side of the square input."""
        return self.classifier.side_px

    def predict(self, pixels: np.ndarray, labels: np.ndarray) -> Predictions:
        """Labels a batch.

        Args:
          pixels: (n, side, side, 3) uint8 RGB.
          labels: (n,) int32, the images' own labels; -1 where there is none.

        Returns:
          n predictions of top_k classes, and one more where the label is asked for.
        """
        if self.device.is_gpu:
            return self._predict_on_gpu(pixels, labels)
        length = max(_MIN_PIECE, math.ceil(len(pixels) / num_cores()))
        pieces = [slice(start, start + length) for start in range(0, len(pixels), length)]
        if len(pieces) == 1:
            return self._run(pixels, labels)
        return concatenate(
            list(thread_pool("predict").map(lambda piece: self._run(pixels[piece], labels[piece]), pieces))
        )

    def _predict_on_gpu(self, pixels: np.ndarray, labels: np.ndarray) -> Predictions:
        """Runs pieces of one fixed shape, smaller ones from the time that the memory did not suffice."""
        import tensorflow as tf

        done: list[Predictions] = []
        start = 0
        while start < len(pixels):
            length = self._max_piece
            piece = slice(start, start + length)
            count = len(pixels[piece])
            padding = [(0, length - count)]
            try:
                padded = self._run(np.pad(pixels[piece], padding + [(0, 0)] * 3), np.pad(labels[piece], padding))
            except tf.errors.ResourceExhaustedError:
                if length == 1:
                    raise
                self._max_piece = min(self._max_piece, length // 2)
                _logger.warning("%d images do not fit into the GPU's memory, trying %d", length, self._max_piece)
                continue
            done.append(padded.select(slice(count)))
            start += count
        return concatenate(done)

    def _run(self, pixels: np.ndarray, labels: np.ndarray) -> Predictions:
        return Predictions(**{name: value.numpy() for name, value in self._function(pixels, labels).items()})

    def _start(self, use_xla: bool) -> None:
        """Compiles and checks the model; without XLA where XLA can't compile it.

        Raises:
          ModelError: the device can't run it, or its outputs are not what its head makes of its features.
        """
        import tensorflow as tf

        self._use_xla = use_xla
        self._max_piece = self.settings.batch_size
        self._function = self._compile(self.device.precision)
        try:
            self._check()
        except tf.errors.OpError as error:
            what = f"{self.settings.source} can't be run on {self.device.name}"
            reason = next(iter(str(error.message).splitlines()), type(error).__name__)
            if not use_xla:
                raise models.ModelError(f"{what}: {reason}") from error
            _logger.warning("%s with XLA, trying without: %s", what, reason)
            self._start(use_xla=False)

    def _compile(self, precision: str):
        import tensorflow as tf

        from transforms.predict.computation import infer

        classifier, settings, side = self.classifier, self.settings, self.side_px
        features = classifier.features(precision)

        @tf.function(
            input_signature=[tf.TensorSpec((None, side, side, 3), tf.uint8), tf.TensorSpec((None,), tf.int32)],
            jit_compile=self._use_xla,
            autograph=False,
        )
        def predict(images, labels):
            return infer(classifier, features, settings, images, labels)

        return predict

    def _check(self) -> None:
        """Checks the head against the model itself, and a narrow precision against float32.

        Raises:
          ModelError: the model's outputs are not what its head makes of its features.
        """
        pixels = checks.test_images(self.side_px)
        got = self.predict(pixels, np.full(len(pixels), -1, np.int32))
        reference = self._reference(pixels, got.class_index[:, 0])
        checks.check_head(self.classifier, self.settings.source, pixels, reference)
        reason = checks.precision_error(got, reference)
        if reason is None:
            return
        reason = f"{self.device.precision} was tried and strays from float32: {reason}"
        _logger.warning("%s computes in float32: %s", self.settings.source, reason)
        self.device = self.device._replace(precision="float32", reason=reason)
        self._function = self._compile("float32")

    def _reference(self, pixels: np.ndarray, labels: np.ndarray) -> Predictions:
        """Predicts in float32, step by step instead of compiled, with logits and the labels' classes."""
        import tensorflow as tf

        from transforms.predict.computation import infer

        settings = dataclasses.replace(self.settings, top_k=1, include_label=True, logits=True)
        features = self.classifier.features("float32")
        predictions = infer(self.classifier, features, settings, tf.constant(pixels), tf.constant(labels))
        return Predictions(**{name: value.numpy() for name, value in predictions.items()})


def concatenate(parts: list[Predictions]) -> Predictions:
    """Joins the predictions of consecutive pieces."""
    fields = zip(Predictions._fields, zip(*parts, strict=True), strict=True)
    return Predictions(**{name: np.concatenate(arrays) for name, arrays in fields if arrays[0] is not None})


@functools.lru_cache(maxsize=1)
def shared_engine(settings: EngineSettings) -> Engine:
    """Returns the process's engine for these settings, built at the first call."""
    return Engine(settings)
