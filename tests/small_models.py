"""Keras models of a few thousand weights with the structures that the engine has to cope with."""

import keras
import numpy as np
from keras import layers

from tests.factories import engine_settings
from transforms.predict.engine import Engine
from transforms.predict.tensorflow_engine import TensorFlowEngine

SIDE_PX = 32


def randomize(model, seed: int = 0):
    """Gives biases and batch norms values as training would: fresh ones are 0 and 1, and hide a wrong fold."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            names = [weight.name for weight in layer.weights]
            spread = {"gamma": (0.5, 1.5), "beta": (-0.3, 0.3), "moving_mean": (-0.3, 0.3), "moving_variance": (0.5, 2)}
            layer.set_weights([rng.uniform(*spread[name], layer.weights[0].shape) for name in names])
        elif getattr(layer, "use_bias", False):
            *kernels, bias = layer.get_weights()
            layer.set_weights([*kernels, rng.uniform(-0.3, 0.3, bias.shape)])
    return model


def _convolution(x, filters: int, kernel: int = 1, strides: int = 1, padding: str = "valid"):
    x = layers.Conv2D(filters, kernel, strides, padding)(x)
    return layers.BatchNormalization()(x)


def _bottleneck(x, filters: int, first_strides: int = 1, middle_strides: int = 1, same: bool = False):
    """A ResNet block; its 3x3 convolution pads as a layer of its own does, or by itself."""
    shortcut = x
    if first_strides * middle_strides > 1:
        shortcut = _convolution(x, 2 * filters, strides=first_strides * middle_strides)
    x = layers.ReLU()(_convolution(x, filters, strides=first_strides))
    if not same:
        x = layers.ZeroPadding2D(1)(x)
    x = layers.ReLU()(_convolution(x, filters, 3, middle_strides, "same" if same else "valid"))
    return layers.ReLU()(layers.Add()([_convolution(x, 2 * filters), shortcut]))


def features(kind: str):
    """Returns the input and the feature maps, 4x4, of a small ResNet.

    Args:
      kind: "v1" has the stride in the first 1x1 convolution of a stage, "v1.5" in the 3x3, "same" there too but with
        the padding that TensorFlow chooses by the stride.
    """
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = layers.ReLU()(_convolution(inputs, 8, 3, 2, "same"))
    x = layers.MaxPooling2D(2)(x)
    strides = {"first_strides": 2} if kind == "v1" else {"middle_strides": 2}
    x = _bottleneck(x, 8, **strides, same=kind == "same")
    x = _bottleneck(x, 8, same=kind == "same")
    return inputs, _bottleneck(x, 8, same=kind == "same")


def resnet(kind: str = "v1", activation: str | None = None, classes: int = 5):
    """A small ResNet with a pooled head."""
    inputs, x = features(kind)
    x = layers.Dense(classes, activation, name="head")(layers.GlobalAveragePooling2D()(x))
    return randomize(keras.Model(inputs, x, name="small_resnet"))


def flatten_and_dense(activation: str | None = "softmax", classes: int = 5):
    """The same feature maps under two dense layers, as in VGG."""
    inputs, x = features("v1")
    x = layers.Dense(16, "relu")(layers.Flatten(name="flat")(layers.MaxPooling2D(2, name="last_pool")(x)))
    return randomize(keras.Model(inputs, layers.Dense(classes, activation, name="head")(x), name="small_vgg"))


def engine_of(model, folder, **settings) -> TensorFlowEngine:
    """Saves a model; returns an engine of it, of float32, pixels in [-1, 1], signed weights unless told otherwise."""
    defaults = {"preprocess": "tf", "precision": "float32", "weights": "signed"}
    path = str(folder / "model.keras")
    model.save(path)
    return TensorFlowEngine(engine_settings(path, **defaults | settings))


def pixels(count: int = 3, side_px: int = SIDE_PX) -> np.ndarray:
    """(count, side, side, 3) uint8 noise."""
    return np.random.default_rng(2).integers(0, 256, (count, side_px, side_px, 3), np.uint8)


def predict(engine: Engine, images: np.ndarray):
    return engine.predict(images, [None] * len(images))


def probabilities(model, images: np.ndarray) -> np.ndarray:
    """What Keras itself makes of images that are preprocessed to [-1, 1], as probabilities."""
    outputs = np.asarray(model(images.astype(np.float32) / 127.5 - 1, training=False), np.float64)
    if np.allclose(outputs.sum(axis=1), 1):
        return outputs
    exponents = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)
