import numpy as np
import pytest

from transforms.model.preprocess import guess, preprocess

WHITE_RED = np.array([[[[255, 255, 255], [255, 0, 0]]]], np.uint8)


@pytest.mark.parametrize(
    ("kind", "white", "red"),
    [
        # BGR minus its mean, so red comes last
        ("caffe", [151.061, 138.221, 131.32], [-103.939, -116.779, 131.32]),
        # (1 - mean) / std, and -mean / std where there is nothing
        ("torch", [2.2489083, 2.4285714, 2.64], [2.2489083, -2.0357143, -1.8044444]),
        ("tf", [1, 1, 1], [1, -1, -1]),
        ("none", [255, 255, 255], [255, 0, 0]),
    ],
)
def test_pixels_become_what_the_weights_want(kind, white, red):
    np.testing.assert_allclose(
        np.asarray(preprocess(WHITE_RED.astype(np.float32), kind))[0, 0], [white, red], atol=1e-4
    )


@pytest.mark.parametrize("kind", ["caffe", "tf", "torch"])
def test_the_same_as_keras_has_it(kind):
    from keras.applications.imagenet_utils import preprocess_input

    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    expected = preprocess_input(images.astype(np.float32), mode=kind)
    np.testing.assert_allclose(preprocess(images.astype(np.float32), kind), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet50", "caffe"),
        ("vgg16", "caffe"),
        ("resnet50v2", "tf"),
        ("mobilenetv2_1.00_224", "tf"),
        ("densenet121", "torch"),
        ("efficientnetb0", "none"),
    ],
)
def test_keras_models_are_known_by_name(name, kind):
    assert guess(name, ["Conv2D"]) == kind


def test_a_model_that_preprocesses_itself():
    assert guess("mine", ["Rescaling", "Conv2D"]) == "none"


def test_an_unknown_model_asks_for_the_setting():
    with pytest.raises(ValueError, match=r"can't tell .* 'mine' .* one of caffe, torch, tf, none"):
        guess("mine", ["Conv2D"])
