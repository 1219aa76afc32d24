"""The engine on TensorFlow: a classifier as one compiled function, uint8 images in, predictions and maps out."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from transforms.model import sources
from transforms.model.preprocess import preprocess
from transforms.model.source import ModelError
from transforms.predict import checks, tensorflow_device
from transforms.predict.device import Device
from transforms.predict.engine import Labels, ModelDescription
from transforms.predict.engine_settings import EngineSettings
from transforms.predict.pieces import OneSize, Predict, in_parallel
from transforms.records import Predictions

_logger = logging.getLogger("cambeam")


class TensorFlowEngine:
    """A Keras classifier or a SavedModel, compiled for this machine: see `engine.Engine`."""

    def __init__(self, settings: EngineSettings):
        self._settings, self._source = settings, settings.model.source
        self.device: Device = tensorflow_device.resolve(settings.model.precision)
        self._classifier = classifier = sources.load(settings.model, settings.cam)
        head = classifier.method.head
        self.side_px, self.num_classes = classifier.side_px, head.num_classes
        self.description = ModelDescription(classifier.name, head.description, classifier.preprocess)
        if classifier.float32_only and self.device.precision != "float32":
            self.device = self.device._replace(precision="float32", reason="the only one of a SavedModel")
        self._start(use_xla=self.device.is_gpu)

    def predict(self, pixels: np.ndarray, labels: Labels) -> Predictions:
        return self._predict(pixels, labels)

    def predict_piece(self, pixels: np.ndarray, labels: Labels) -> Predictions:
        """As `predict`, but uncut and in the thread that calls."""
        return _run(self._function, pixels, labels)

    def _start(self, use_xla: bool) -> None:
        """Compiles and checks the model; without XLA where XLA can't compile it.

        Raises:
          ModelError: the device can't run it, or its outputs are not what its head makes of its features.
        """
        import tensorflow as tf

        self._use_xla = use_xla
        self._function = self._compile(self.device.precision)
        self._predict: Predict = functools.partial(in_parallel, self.predict_piece)
        if self.device.is_gpu:
            self._predict = OneSize(self.predict_piece, self._settings.batch_size, tf.errors.ResourceExhaustedError)
        try:
            self._check()
        except tf.errors.OpError as error:
            what = f"{self._source} can't be run on {self.device.name}"
            if not use_xla:
                raise ModelError(f"{what}: {_reason(error)}") from error
            _logger.warning("%s with XLA, trying without: %s", what, _reason(error))
            self._start(use_xla=False)

    def _compile(self, precision: str) -> Callable[..., dict[str, Any]]:
        import tensorflow as tf

        from transforms.predict.computation import infer

        classifier, settings, side = self._classifier, self._settings, self.side_px
        features = classifier.features(precision)
        images, labels = tf.TensorSpec((None, side, side, 3), tf.uint8), tf.TensorSpec((None,), tf.int32)

        @tf.function(
            input_signature=[images, labels, tf.TensorSpec((None,), tf.bool)],
            jit_compile=self._use_xla,
            autograph=False,
        )
        def predict(images: tf.Tensor, labels: tf.Tensor, labelled: tf.Tensor) -> dict[str, tf.Tensor]:
            return infer(classifier, features, settings, images, labels, labelled)

        return predict

    def _check(self) -> None:
        """Checks the head against the model itself, and a narrow precision against float32.

        Raises:
          ModelError: the model's outputs are not what its head makes of its features.
        """
        pixels = checks.trial_images(self.side_px)
        got = self.predict(pixels, [None] * len(pixels))
        reference = self._reference(pixels, got.class_index[:, 0].tolist())
        self._check_head(pixels, reference)
        reason = checks.precision_error(got, reference)
        if reason is None:
            return
        reason = f"{self.device.precision} was tried and strays from float32: {reason}"
        _logger.warning("%s computes in float32: %s", self._source, reason)
        self.device = self.device._replace(precision="float32", reason=reason)
        self._function = self._compile("float32")

    def _reference(self, pixels: np.ndarray, labels: Labels) -> Predictions:
        """Predicts in float32, step by step instead of compiled, with logits and the labels' classes."""
        from transforms.predict.computation import infer

        cam = self._settings.cam.model_copy(update={"top_k": 1, "include_label": True})
        settings = self._settings.model_copy(update={"cam": cam, "logits": True})
        features = self._classifier.features("float32")
        return _run(functools.partial(infer, self._classifier, features, settings), pixels, labels)

    def _check_head(self, pixels: np.ndarray, reference: Predictions) -> None:
        classifier = self._classifier
        images = preprocess(pixels.astype(np.float32), classifier.preprocess)
        outputs = np.asarray(classifier.outputs(images), np.float32)
        assert reference.logits is not None
        error = checks.head_error(reference.logits, outputs, classifier.method.head.softmax)
        if not error < checks.IDENTITY_TOLERANCE:
            raise ModelError(
                f"{self._source}: the mean of a class map plus its bias differs from the logit by {error:.1e} of the "
                f"largest, more than {checks.IDENTITY_TOLERANCE:.0e}: the head {self.description.head} was misread"
            )


def _reason(error: Exception) -> str:
    """Returns the line of a TensorFlow error that says what is wrong; the lines before it say where."""
    preamble = ("Graph execution error", "Detected at node", "<stack traces", " ")
    lines = [line for line in str(error).splitlines() if line and not line.startswith(preamble)]
    return next(iter(lines), type(error).__name__)


def _run(function: Callable[..., dict[str, Any]], pixels: np.ndarray, labels: Labels) -> Predictions:
    """Calls a function of images, labels (0 where there is none) and whether there are labels."""
    import tensorflow as tf

    labelled = np.array([label is not None for label in labels], bool)
    known = np.array([label or 0 for label in labels], np.int32)
    outputs = function(tf.constant(pixels), tf.constant(known), tf.constant(labelled))
    return Predictions(**{name: value.numpy() for name, value in outputs.items()})
