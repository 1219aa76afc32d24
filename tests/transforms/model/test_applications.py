"""Keras' own architectures give Keras' own probabilities, folded as far as they can be."""

import keras
import numpy as np
import pytest

from tests.small_models import SIDE_PX, engine_of, pixels, predict, probabilities, randomize

_MODELS = {
    "ResNet50": (keras.applications.ResNet50, 64),
    "ResNet101": (keras.applications.ResNet101, 64),
    "ResNet152V2": (keras.applications.ResNet152V2, 64),
    "MobileNetV2": (keras.applications.MobileNetV2, 64),
    "EfficientNetB0": (keras.applications.EfficientNetB0, 64),
    "DenseNet121": (keras.applications.DenseNet121, 64),
    "InceptionV3": (keras.applications.InceptionV3, 75),  # the smallest it takes
}


def check(model, folder, images, **settings):
    expected = probabilities(model, images)
    assert np.ptp(expected) > 0.01  # not a model that says the same whatever is computed
    got = predict(engine_of(model, folder, top_k=expected.shape[1], **settings), images)
    placed = np.empty_like(expected)
    np.put_along_axis(placed, got.class_index, got.probability, axis=1)
    np.testing.assert_allclose(placed, expected, atol=1e-4)
    return got


@pytest.mark.parametrize("name", _MODELS)
def test_keras_applications(tmp_path, name):
    build, side_px = _MODELS[name]
    keras.utils.set_random_seed(0)
    model = randomize(build(weights=None, input_shape=(side_px, side_px, 3), classes=5))
    head = model.layers[-1]
    head.set_weights([head.get_weights()[0] * 5, head.get_weights()[1]])  # else all classes are as probable
    check(model, tmp_path, pixels(2, side_px))


@keras.saving.register_keras_serializable("tests")
class CentredConvolution(keras.layers.Conv2D):
    """A convolution whose kernel has no mean: what Keras' own would do with its weights is wrong."""

    def call(self, x):
        kernel = self.kernel - keras.ops.mean(self.kernel)
        return keras.ops.relu(keras.ops.conv(x, kernel, self.strides, "same") + self.bias)


def test_a_layer_that_cannot_be_folded(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = keras.layers.BatchNormalization()(CentredConvolution(8, 3, 2, "same")(inputs))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = randomize(keras.Model(inputs, keras.layers.Dense(5, kernel_initializer="random_normal")(x)))
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 50)
    assert check(model, tmp_path, pixels()).cams.shape == (3, 5, 16, 16)
