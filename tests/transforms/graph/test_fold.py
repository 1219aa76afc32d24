import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from transforms.graph.fold import fold
from transforms.graph.layers import flatten


def randomize(model, seed=0):
    """Gives every weight a value, batch norms' statistics too, as training would."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(rng.uniform(0.5, 2, weight.shape))
        elif "kernel" in weight.path:
            weight.assign(rng.normal(0, 0.3, weight.shape))
        elif weight.dtype != "uint32":  # the state of a random layer
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return model


def run_folded(model, images, dtype="float32"):
    folded = tf.function(fold(flatten(model), dtype), autograph=False)
    return np.asarray(tf.cast(folded(tf.constant(images)), tf.float32))


def check_folding(outputs, inputs):
    model = randomize(keras.Model(inputs, outputs))
    images = np.random.default_rng(1).normal(size=(2, *inputs.shape[1:])).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(run_folded(model, images) / scale, expected / scale, atol=1e-4)
    return model


def image_input():
    return keras.Input((16, 16, 3))


def conv_norm(x, filters, kernel=3, strides=1, activation="relu", **options):
    x = layers.Conv2D(filters, kernel, strides, **options)(x)
    x = layers.BatchNormalization(epsilon=1.001e-5)(x)
    return layers.Activation(activation)(x) if activation else x


def test_resnet_block():
    inputs = image_input()
    x = layers.ZeroPadding2D(3)(inputs)
    x = conv_norm(x, 8, 7, 2)
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    shortcut = conv_norm(x, 16, 1, activation=None)
    y = conv_norm(x, 4, 1)
    y = conv_norm(y, 4, padding="same")
    y = conv_norm(y, 16, 1, activation=None)
    check_folding(layers.Activation("relu")(layers.Add()([shortcut, y])), inputs)


def test_mobilenet_block():
    inputs = image_input()
    x = conv_norm(inputs, 8, activation="relu6", padding="same", use_bias=False)
    x = layers.ZeroPadding2D(((0, 1), (1, 0)))(x)
    x = layers.DepthwiseConv2D(3, 2, use_bias=False, depth_multiplier=2)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(scale=False)(x))
    x = conv_norm(x, 8, 1, activation=None)
    check_folding(layers.Add()([x, conv_norm(x, 8, 1, activation=None)]), inputs)


def test_densenet_block():
    inputs = image_input()
    x = conv_norm(inputs, 6, padding="same")
    y = layers.BatchNormalization(center=False)(x)  # before the convolution: nothing to fold it into
    y = layers.Conv2D(4, 3, padding="same", use_bias=False)(layers.ReLU()(y))
    x = layers.Concatenate()([x, y])
    check_folding(layers.AveragePooling2D(2)(x), inputs)


def test_grouped_and_dilated_convolutions():
    inputs = image_input()
    x = conv_norm(inputs, 8, padding="same")
    x = conv_norm(x, 8, groups=4, padding="same")
    check_folding(conv_norm(x, 4, dilation_rate=2, padding="same"), inputs)


def test_a_convolution_with_two_consumers_keeps_its_own_output():
    inputs = image_input()
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    check_folding(layers.Add()([x, layers.BatchNormalization()(x)]), inputs)


def test_a_padding_with_two_consumers_pads_for_both():
    inputs = image_input()
    x = layers.ZeroPadding2D(1)(inputs)
    check_folding(layers.Concatenate()([layers.Conv2D(3, 1)(x), x]), inputs)


def test_an_activated_convolution_is_not_folded_into_the_norm_after_it():
    inputs = image_input()
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    check_folding(layers.BatchNormalization()(x), inputs)


@pytest.mark.parametrize(
    "activation",
    [
        layers.ReLU(),
        layers.ReLU(max_value=3.0),
        layers.ReLU(negative_slope=0.1, threshold=0.2),
        layers.LeakyReLU(),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Activation("swish"),
        layers.Activation("hard_swish"),
        layers.Activation("gelu"),
    ],
)
def test_activations(activation):
    inputs = image_input()
    check_folding(activation(conv_norm(inputs, 4, activation=None)), inputs)


def test_sums_of_different_shapes_broadcast():
    inputs = image_input()
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    check_folding(layers.Add()([x, squeezed]), inputs)
    check_folding(layers.Multiply()([x, layers.Conv2D(4, 1, activation="sigmoid")(squeezed)]), inputs)


def test_nested_and_repeated_layers():
    inner_inputs = keras.Input((16, 16, 4))
    inner = keras.Model(inner_inputs, conv_norm(inner_inputs, 4, padding="same"))
    inputs = image_input()
    check_folding(inner(inner(conv_norm(inputs, 4, padding="same"))), inputs)


def test_layers_without_a_fast_form_run_as_keras_has_them():
    inputs = image_input()
    x = layers.Rescaling(0.5, 0.1)(inputs)
    x = layers.SeparableConv2D(4, 3)(x)
    x = layers.GroupNormalization(2)(x)
    x = keras.ops.abs(x) + 1.0
    check_folding(layers.UpSampling2D(2, interpolation="bilinear")(x), inputs)


def test_augmentation_and_dropout_stay_inactive():
    inputs = image_input()
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.RandomRotation(0.4)(x)
    x = layers.RandomContrast(0.9)(x)
    x = layers.GaussianNoise(1.0)(layers.Dropout(0.9)(x))
    model = check_folding(layers.Conv2D(4, 3)(x), inputs)
    images = np.random.default_rng(2).normal(size=(2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_array_equal(run_folded(model, images), run_folded(model, images))


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.03), ("float16", 0.005)])
def test_narrow_types_stay_close(dtype, tolerance):
    inputs = image_input()
    x = conv_norm(inputs, 8, padding="same")
    y = conv_norm(layers.ZeroPadding2D(1)(x), 8)
    x = layers.Concatenate()([layers.Add()([x, y]), layers.MaxPooling2D(3, 1, "same")(x)])
    model = randomize(keras.Model(inputs, layers.UpSampling2D()(layers.Activation("relu")(x))))
    images = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    exact, narrow = run_folded(model, images), run_folded(model, images, dtype)
    assert 0 < np.abs(narrow - exact).max() <= tolerance * np.abs(exact).max()
