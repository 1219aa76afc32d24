"""The registry of ways to make class maps, and that a new one takes part in everything that is done with maps."""

from typing import NamedTuple

import numpy as np
import pydantic
import pytest
import tensorflow as tf

from tests.small_models import engine_of, pixels, predict, resnet
from transforms.cam.head import PooledHead, find_pooled_head
from transforms.cam.methods import METHODS
from transforms.cam.settings import CamSettings


class Sums(NamedTuple):
    """A made-up method: the sum of the features and the number of the class; knows nothing of weights."""

    head: PooledHead

    @classmethod
    def of(cls, graph, weights):
        return cls(find_pooled_head(graph))

    def maps(self, features, class_index):
        sums = tf.reduce_sum(features.dense, axis=3)
        return sums[:, None] + tf.cast(class_index, tf.float32)[:, :, None, None]


def test_a_method_is_a_key_of_the_registry(monkeypatch):
    assert CamSettings(method="grad-cam").method == "grad-cam"
    with pytest.raises(pydantic.ValidationError, match="must be 'cam' or 'grad-cam'"):
        CamSettings(method="sums")
    monkeypatch.setitem(METHODS, "sums", Sums.of)
    assert CamSettings(method="sums").method == "sums"


@pytest.mark.parametrize("changes", [{}, {"resolution": 14}, {"flip": True}, {"refine": "affinity"}])
def test_a_new_method_is_a_line_of_the_registry(tmp_path, monkeypatch, changes):
    monkeypatch.setitem(METHODS, "sums", Sums.of)
    model, images = resnet(), pixels()
    plain = predict(engine_of(model, tmp_path, top_k=2, **changes, activations=True), images)
    got = predict(engine_of(model, tmp_path, top_k=2, **changes, method="sums"), images)
    np.testing.assert_array_equal(got.class_index, plain.class_index)
    assert got.cams.shape == plain.cams.shape
    if not changes:
        expected = plain.activations.sum(axis=3)[:, None] + plain.class_index[:, :, None, None]
        np.testing.assert_allclose(got.cams, expected, rtol=1e-5)
