"""The compiled inference function: uint8 images in, predictions and class maps out."""

import functools
import logging
import math
from dataclasses import dataclass

import numpy as np

from transforms import device as devices
from transforms import model as models
from transforms.cam import class_activation_maps
from transforms.records import Predictions
from transforms.threads import num_cores, thread_pool

IDENTITY_TOLERANCE = 1e-3  # of logits against the mean of their class map plus bias, relative, in float32
MAP_TOLERANCE = 0.05  # of maps in a narrow precision against float32, relative to the range of the map
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


class Engine:
    """A classifier compiled for this machine. Thread-safe; one per process (see `shared_engine`).

    On a CPU a batch is cut into pieces that run in parallel, one thread each: that is faster than one piece with
    several threads per operation, and keeps all cores busy however many shards are in work.
    """

    def __init__(self, settings: EngineSettings):
        self.settings = settings
        self.device = devices.resolve(settings.precision)
        self.classifier = models.load(settings.source, settings.preprocess)
        self.num_classes = len(self.classifier.bias)
        self._top_k = min(settings.top_k, self.num_classes)
        self._max_piece = settings.batch_size
        self._function = self._compile(self.device.precision)
        self._check()

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

    def _compile(self, precision: str):
        import tensorflow as tf

        settings, classifier, side = self.settings, self.classifier, self.side_px
        features = classifier.features(precision)
        head_weights, bias = classifier.weights, classifier.bias

        @tf.function(
            input_signature=[tf.TensorSpec((None, side, side, 3), tf.uint8), tf.TensorSpec((None,), tf.int32)],
            jit_compile=self.device.is_gpu,
            autograph=False,
        )
        def predict(images, labels):
            from transforms.preprocess import preprocess

            activations = tf.cast(features(preprocess(images, classifier.preprocess)), tf.float32)
            pooled = tf.reduce_mean(activations, axis=(1, 2))
            logits = pooled @ head_weights + bias
            logit, class_index = tf.math.top_k(logits, self._top_k)
            rank = tf.zeros_like(class_index) + tf.range(self._top_k)
            if settings.include_label:
                class_index, logit, rank = _append_label(labels, logits, class_index, logit, rank)
            class_weights = tf.gather(head_weights, class_index, axis=1)  # (channels, n, k)
            cams = class_activation_maps(activations, tf.transpose(class_weights, (1, 0, 2)))
            result = {
                "class_index": class_index,
                "probability": tf.exp(logit - tf.reduce_logsumexp(logits, axis=1, keepdims=True)),
                "logit": logit,
                "rank": rank,
                "cams": tf.transpose(cams, (0, 3, 1, 2)),
            }
            optional = {"logits": logits, "embedding": pooled, "activations": activations}
            wanted = (settings.logits, settings.embeddings, settings.activations)
            return result | {name: optional[name] for name, want in zip(optional, wanted, strict=True) if want}

        return predict

    def _check(self) -> None:
        """Checks the head against the model itself, and a narrow precision against float32.

        Raises:
          ModelError: the model's outputs are not what its head makes of its features.
        """
        import tensorflow as tf

        from transforms.preprocess import preprocess

        classifier = self.classifier
        pixels = _test_images(self.side_px)
        inputs = preprocess(tf.constant(pixels), classifier.preprocess)
        activations = np.asarray(classifier.features("float32")(inputs), np.float32)
        class_weights = np.broadcast_to(classifier.weights, (len(pixels), *classifier.weights.shape))
        cams = class_activation_maps(activations, class_weights)
        logits = cams.mean(axis=(1, 2)) + classifier.bias
        error = _identity_error(logits, np.asarray(classifier.outputs(inputs), np.float32), classifier.softmax)
        if not error < IDENTITY_TOLERANCE:
            raise models.ModelError(
                f"{self.settings.source}: the mean of a class map plus its bias differs from the logit by {error:.1e} "
                f"of the largest, more than {IDENTITY_TOLERANCE:.0e}: the head {classifier.head} was misread"
            )
        if self.device.precision != "float32":
            self._check_precision(pixels, logits, cams)

    def _check_precision(self, pixels: np.ndarray, logits: np.ndarray, cams: np.ndarray) -> None:
        got = self.predict(pixels, np.full(len(pixels), -1, np.int32))
        images, top = np.arange(len(pixels)), got.class_index[:, 0]
        expected = cams[images, :, :, top]
        lost_logit = (logits.max(axis=1) - logits[images, top]).max()  # 0 where the top class is the same
        map_error = (np.abs(got.cams[:, 0] - expected).max(axis=(1, 2)) / np.ptp(expected, axis=(1, 2))).max()
        if lost_logit <= 0.1 and map_error <= MAP_TOLERANCE:
            return
        reason = f"{self.device.precision} was tried and strays from float32: maps by {map_error:.0%} of their range"
        _logger.warning("%s computes in float32: %s", self.settings.source, reason)
        self.device = self.device._replace(precision="float32", reason=reason)
        self._function = self._compile("float32")


def _append_label(labels, logits, class_index, logit, rank):
    """Adds each image's own label as one more class; its rank is -1 where it is absent or among the others already."""
    import tensorflow as tf

    known = (labels >= 0) & (labels < logits.shape[1])
    label = tf.where(known, labels, 0)[:, None]
    label_logit = tf.gather(logits, label, batch_dims=1)
    label_rank = tf.reduce_sum(tf.cast(logits > label_logit, tf.int32), axis=1, keepdims=True)
    new = known[:, None] & tf.reduce_all(class_index != label, axis=1, keepdims=True)
    label_rank = tf.where(new, tf.maximum(label_rank, class_index.shape[1]), -1)
    return (
        tf.concat([class_index, label], axis=1),
        tf.concat([logit, label_logit], axis=1),
        tf.concat([rank, label_rank], axis=1),
    )


def concatenate(parts: list[Predictions]) -> Predictions:
    """Joins the predictions of consecutive pieces."""
    fields = zip(Predictions._fields, zip(*parts, strict=True), strict=True)
    return Predictions(**{name: np.concatenate(arrays) for name, arrays in fields if arrays[0] is not None})


def _test_images(side_px: int) -> np.ndarray:
    """Returns (4, side, side, 3) uint8: smooth noise, more like photographs than white noise is."""
    import cv2

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
    return np.stack([cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_CUBIC) for image in coarse])


def _identity_error(logits: np.ndarray, outputs: np.ndarray, softmax: bool) -> float:
    """Returns the largest difference of two (n, classes) outputs, relative to the largest logit.

    Softmax outputs are compared by their logarithms, up to the constant that softmax forgets, where they are not tiny.
    """
    if logits.shape != outputs.shape:
        return math.inf
    if not softmax:
        return float(np.abs(logits - outputs).max() / max(np.abs(outputs).max(), 1e-6))
    shown = outputs > 1e-6
    difference = np.where(shown, logits - np.log(np.maximum(outputs, 1e-6)), np.nan)
    spread = np.nanmax(difference, axis=1) - np.nanmin(difference, axis=1)
    return float(spread.max() / max(np.abs(logits).max(), 1e-6))


@functools.lru_cache(maxsize=1)
def shared_engine(settings: EngineSettings) -> Engine:
    """Returns the process's engine for these settings, built at the first call."""
    return Engine(settings)
