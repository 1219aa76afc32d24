import numpy as np

from transforms.cam.activation import class_activation_maps


def test_equation_2_by_hand():
    # two feature maps of 1x2: f_0 = [1, 2], f_1 = [10, 20]
    activations = np.array([[[[1.0, 10.0], [2.0, 20.0]]]], np.float32)
    # of the first class w = (1, -0.1), of the second w = (0.5, 0)
    weights = np.array([[[1.0, 0.5], [-0.1, 0.0]]], np.float32)
    maps = class_activation_maps(activations, weights)
    # M_0 = 1 - 1, 2 - 2; M_1 = 0.5, 1: signed weights, no ReLU
    np.testing.assert_allclose(maps, [[[[0.0, 0.5], [0.0, 1.0]]]], atol=1e-6)


def test_each_image_has_classes_of_its_own():
    activations = np.ones((2, 1, 1, 3), np.float32)
    weights = np.stack([np.full((3, 1), 2.0), np.full((3, 1), 5.0)]).astype(np.float32)
    assert class_activation_maps(activations, weights).ravel().tolist() == [6.0, 15.0]


def test_mean_of_the_map_plus_bias_is_the_logit():
    rng = np.random.default_rng(0)
    activations, weights = rng.random((4, 7, 7, 32)), rng.normal(size=(32, 10))
    bias = rng.normal(size=10)
    logits = activations.mean(axis=(1, 2)) @ weights + bias
    maps = class_activation_maps(activations, np.broadcast_to(weights, (4, 32, 10)))
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + bias, logits, rtol=1e-12)
