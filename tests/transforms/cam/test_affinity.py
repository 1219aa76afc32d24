"""Maps smoothed over what looks alike: the formula, the stage it takes the features from, and the engine with it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.small_models import engine_of, pixels, predict, resnet
from transforms.cam.affinity import AffinityError, find_stage, propagate
from transforms.cam.head import find_pooled_head
from transforms.graph.layers import flatten
from transforms.locate.normalize import upsample
from transforms.model.source import ModelError


def stage_of(model):
    """Returns the layer call that the engine takes the stage from."""
    graph = flatten(model)
    graph = graph.until(find_pooled_head(graph).features)
    return graph.producer(find_stage(graph))


def expected(cams: np.ndarray, stage: np.ndarray) -> np.ndarray:
    """The formula of the docstring, cell by cell; the maps have the right size already."""
    count, height, width, channels = stage.shape
    pooled = stage.reshape(count, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    refined = np.empty_like(cams)
    for image, maps in enumerate(cams):
        cells = pooled[image].reshape(-1, channels)
        cells = cells - cells.mean(axis=0)
        for i, cell in enumerate(cells):
            cosines = cells @ cell / (np.linalg.norm(cells, axis=1) * np.linalg.norm(cell))
            weights = np.maximum(cosines, 0) ** 2
            values = maps.reshape(len(maps), -1) @ (weights / weights.sum())
            refined[image, :, i // (width // 2), i % (width // 2)] = values
    return refined


def test_propagate_is_the_weighted_mean_over_alike_cells():
    rng = np.random.default_rng(0)
    stage = rng.normal(size=(2, 8, 6, 5)).astype(np.float32)
    cams = rng.normal(size=(2, 3, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(propagate(tf.constant(cams), tf.constant(stage)), expected(cams, stage), atol=1e-5)


def test_cells_share_within_their_region_only():
    # the left half looks one way, the right half another: each takes its own mean
    stage = np.zeros((1, 8, 8, 2), np.float32)
    stage[:, :, :4, 0] = stage[:, :, 4:, 1] = 1
    cams = np.zeros((1, 1, 4, 4), np.float32)
    cams[0, 0, 0, 0] = 8
    refined = propagate(tf.constant(cams), tf.constant(stage)).numpy()[0, 0]
    np.testing.assert_allclose(refined, np.tile([1, 1, 0, 0], (4, 1)), atol=1e-6)  # 8 over 8 cells


def test_featureless_images_keep_their_maps():
    cams = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(propagate(tf.constant(cams), tf.zeros((1, 8, 8, 3))), cams, atol=1e-6)


def test_the_stage_is_what_all_behind_is_made_from():
    assert stage_of(keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3))).layer.name == "conv3_block4_out"
    assert (
        stage_of(keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3))).layer.name
        == "block_6_expand_relu"
    )
    for kind in ("v1", "v1.5"):  # four times the 4x4 of the last
        assert stage_of(resnet(kind)).shape[1:3] == (16, 16)


@pytest.mark.parametrize("resolution", [7, 14])
def test_engine(tmp_path, resolution):
    model, images = resnet("v1.5"), pixels()
    settings = {"top_k": 2, "weights": "positive", "resolution": resolution}
    plain = predict(engine_of(model, tmp_path, **settings), images)
    refined = predict(engine_of(model, tmp_path, **settings, refine="affinity"), images)
    np.testing.assert_array_equal(refined.logit, plain.logit)
    stage = keras.Model(model.inputs[0], stage_of(model).layer.output)
    stage = np.asarray(stage(images.astype(np.float32) / 127.5 - 1, training=False))
    cams = np.stack([[upsample(one, 8, 8) for one in row] for row in plain.cams])
    np.testing.assert_allclose(refined.cams, expected(cams, stage), atol=1e-4)


def test_models_without_such_a_stage_are_refused(tmp_path):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, 2, activation="relu")(inputs)
    with pytest.raises(AffinityError, match="there is none"):
        find_stage(flatten(keras.Model(inputs, x)))
    head = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(ModelError, match=r"model\.keras: cam\.refine=affinity needs"):
        engine_of(keras.Model(inputs, head), tmp_path, refine="affinity")
