"""Maps of twice the resolution: every second position is what it was, and the class scores are those of the model."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.factories import engine_settings
from tests.small_models import engine_of, pixels, predict, randomize, resnet
from transforms.cam.head import find_pooled_head
from transforms.graph.dilation import DilationError, remove_last_stride
from transforms.graph.fold import fold
from transforms.graph.layers import flatten
from transforms.model.source import ModelError
from transforms.predict.tensorflow_engine import TensorFlowEngine


def feature_maps(model, images):
    """Returns a model's feature maps as they are and dilated, float32."""
    graph = flatten(model)
    graph = graph.until(find_pooled_head(graph).features)
    functions = [fold(graph), fold(graph, dilation=remove_last_stride(graph))]
    return [tf.function(function)(tf.constant(images)).numpy() for function in functions]


@pytest.mark.parametrize("kind", ["v1", "v1.5", "same"])
def test_every_second_position_of_the_dense_features_is_the_old_one(kind):
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    coarse, dense = feature_maps(resnet(kind), images)
    assert (coarse.shape, dense.shape) == ((2, 4, 4, 16), (2, 8, 8, 16))
    np.testing.assert_array_equal(dense[:, ::2, ::2], coarse)
    assert np.abs(dense[:, 1::2, 1::2] - coarse).max() > 0.1  # and what lies between is computed, not copied


@pytest.mark.parametrize("weights", ["signed", "positive"])
def test_engine_keeps_scores_and_doubles_maps(tmp_path, weights):
    model, images = resnet("v1.5"), pixels()
    coarse = predict(engine_of(model, tmp_path, top_k=5, weights=weights), images)
    dense = predict(engine_of(model, tmp_path, top_k=5, weights=weights, resolution=14), images)
    np.testing.assert_array_equal(dense.class_index, coarse.class_index)
    np.testing.assert_array_equal(dense.logit, coarse.logit)
    np.testing.assert_array_equal(dense.cams[..., ::2, ::2], coarse.cams)
    assert dense.cams.shape == (3, 5, 8, 8)


def test_positive_weights_change_the_maps_alone(tmp_path):
    model, images = resnet(), pixels()
    signed = predict(engine_of(model, tmp_path, top_k=5, activations=True), images)
    positive = predict(engine_of(model, tmp_path, top_k=5, weights="positive"), images)
    np.testing.assert_array_equal(positive.probability, signed.probability)
    kernel = np.maximum(np.asarray(model.get_layer("head").kernel), 0)
    # the features follow a ReLU, so that maps of positive weights are never negative
    expected = np.einsum("nhwc,cnk->nkhw", signed.activations, kernel[:, signed.class_index])
    np.testing.assert_allclose(positive.cams, expected, rtol=1e-4, atol=1e-5)
    assert positive.cams.min() >= 0 > signed.cams.min()


def test_stock_resnet50():
    keras.utils.set_random_seed(0)
    model = randomize(keras.applications.ResNet50(weights=None, input_shape=(96, 96, 3), classes=7))
    images = np.random.default_rng(0).normal(size=(2, 96, 96, 3)).astype(np.float32)
    coarse, dense = feature_maps(model, images)
    assert (coarse.shape, dense.shape) == ((2, 3, 3, 2048), (2, 6, 6, 2048))
    np.testing.assert_array_equal(dense[:, ::2, ::2], coarse)


def test_real_model(real_data, tmp_path):
    path = str(tmp_path / "real.keras")
    subprocess.run([sys.executable, real_data / "build_model.py", path], check=True, capture_output=True)
    images = np.stack([keras.utils.img_to_array(np.full((224, 224, 3), 90)), *pixels(2, 224)]).astype(np.uint8)
    settings = {"preprocess": "torch", "precision": "float32", "top_k": 3}
    coarse, dense = (
        predict(TensorFlowEngine(engine_settings(path, **settings, resolution=resolution)), images)
        for resolution in (7, 14)
    )
    np.testing.assert_array_equal(dense.cams[..., ::2, ::2], coarse.cams)
    np.testing.assert_array_equal(dense.logit, coarse.logit)


def test_models_that_cannot_be_dilated_are_refused(tmp_path):
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    strided = layers.Conv2D(4, 3, 2, activation="relu")(inputs)

    def refusal(x) -> str:
        with pytest.raises(DilationError) as caught:
            remove_last_stride(flatten(keras.Model(inputs, x)))
        return str(caught.value)

    assert "this one has none" in refusal(layers.Conv2D(4, 3)(inputs))
    assert "pool (MaxPooling2D) is where the last stride is" in refusal(layers.MaxPooling2D(2, name="pool")(strided))
    assert "pool (AveragePooling2D) follows" in refusal(layers.AveragePooling2D(3, 1, name="pool")(strided))
    assert "squeeze (GlobalAveragePooling2D) follows" in refusal(
        layers.Multiply()([strided, layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(strided)])
    )
    padded = layers.ZeroPadding2D(1, name="pad")(strided)  # would stay 1 though a depthwise kernel reached twice as far
    assert "pad (ZeroPadding2D) follows" in refusal(layers.DepthwiseConv2D(3)(padded))
    assert "groups (Conv2D) follows" in refusal(layers.Conv2D(4, 3, groups=2, name="groups")(strided))
    head = layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.MaxPooling2D(2)(strided)))
    with pytest.raises(ModelError, match=r"model\.keras: cam\.resolution=14 is not possible"):
        engine_of(keras.Model(inputs, head), tmp_path, resolution=14)
