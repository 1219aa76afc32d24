"""Grad-CAM: equal to class activation maps on a pooled head, and maps for models that have none."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.small_models import engine_of, features, flatten_and_dense, pixels, predict, probabilities, resnet
from transforms.cam.chain_head import find_chain_head
from transforms.cam.head import NoHeadError
from transforms.graph.layers import flatten
from transforms.model.source import ModelError


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("resolution", [7, 14])
def test_equals_cam_on_a_pooled_head(tmp_path, activation, resolution):
    model, images = resnet(activation=activation), pixels()
    cam = predict(engine_of(model, tmp_path, top_k=5, resolution=resolution), images)
    grad_cam = predict(engine_of(model, tmp_path, top_k=5, resolution=resolution, method="grad-cam"), images)
    np.testing.assert_array_equal(grad_cam.class_index, cam.class_index)
    np.testing.assert_allclose(grad_cam.probability, cam.probability, rtol=1e-4)
    # the gradient of a mean over 4x4 positions is the head's weight / 16 at each of them
    np.testing.assert_allclose(np.maximum(grad_cam.cams, 0), np.maximum(cam.cams, 0) / 16, atol=1e-5)
    np.testing.assert_allclose(grad_cam.cams, cam.cams / 16, atol=1e-5)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_flatten_and_dense(tmp_path, activation):
    model, images = flatten_and_dense(activation), pixels()
    got = predict(engine_of(model, tmp_path, top_k=2, method="grad-cam"), images)
    expected = probabilities(model, images)
    np.testing.assert_allclose(got.probability, -np.sort(-expected)[:, :2], atol=1e-4)
    # the same by Keras' own layers: gradients of the logit with respect to the map before the last pooling
    target, head = model.get_layer("last_pool").input, model.get_layer("head")
    upper = keras.Model(model.inputs[0], [target, head.input])
    after = [model.get_layer(name) for name in ("last_pool", "flat")] + [model.layers[-2]]
    activations, _ = upper(images.astype(np.float32) / 127.5 - 1, training=False)
    for place in range(2):
        with tf.GradientTape() as tape:
            tape.watch(activations)
            x = activations
            for layer in after:
                x = layer(x)
            chosen = tf.gather(x @ head.kernel + head.bias, got.class_index[:, place], axis=1, batch_dims=1)
        weights = tf.reduce_mean(tape.gradient(chosen, activations), axis=(1, 2))
        cams = np.einsum("nhwc,nc->nhw", activations, weights)
        np.testing.assert_allclose(got.cams[:, place], cams, atol=1e-5)
        assert np.abs(cams).max() > 1e-3


def test_the_error_of_plain_cam_names_the_way_out(tmp_path):
    with pytest.raises(ModelError, match=r"head \(Dense\).*--set cam\.method=grad-cam"):
        engine_of(flatten_and_dense(), tmp_path)


def test_vgg16(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=7)
    images = pixels(2)
    got = predict(engine_of(model, tmp_path, top_k=7, method="grad-cam"), images)
    np.testing.assert_allclose(got.probability, -np.sort(-probabilities(model, images)), atol=1e-4)
    assert got.cams.shape == (2, 7, 2, 2)  # block5_conv3, before the last pooling
    assert np.ptp(got.cams, axis=(2, 3)).min() > 0


def test_network_in_network_is_plain_cam(tmp_path):
    inputs, x = features("v1")
    maps = keras.layers.Conv2D(5, 1, name="class_maps")(x)
    outputs = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(maps))
    model, images = keras.Model(inputs, outputs), pixels()
    got = predict(engine_of(model, tmp_path, top_k=5), images)
    np.testing.assert_allclose(got.probability, -np.sort(-probabilities(model, images)), atol=1e-4)
    class_maps = keras.Model(inputs, maps)(images.astype(np.float32) / 127.5 - 1, training=False)
    for row in range(len(images)):
        expected = np.asarray(class_maps)[row][..., got.class_index[row]].transpose(2, 0, 1)
        np.testing.assert_allclose(got.cams[row], expected, atol=1e-5)


def test_models_without_logits_or_maps_are_refused():
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(inputs)
    with pytest.raises(NoHeadError, match=r"ends in scores \(sigmoid\)"):
        find_chain_head(flatten(keras.Model(inputs, keras.layers.Dense(3, "sigmoid", name="scores")(flat))))
    with pytest.raises(NoHeadError, match="found scores <- "):
        find_chain_head(flatten(keras.Model(inputs, keras.layers.Dense(3, name="scores")(flat))))
