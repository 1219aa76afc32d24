import keras
import numpy as np
import pytest
from keras import layers

from tests.factories import tiny_model
from transforms.cam.head import NoHeadError, find_pooled_head
from transforms.graph.layers import flatten


def model_of(*tail, side_px=16):
    """A model of one convolution named "features" with 6 channels and then the given layers."""
    return keras.Sequential(
        [keras.Input((side_px, side_px, 3)), layers.Conv2D(6, 3, activation="relu", name="features"), *tail]
    )


def check_identity(model):
    """The model's own output is the head over the mean of the features; returns the head."""
    graph = flatten(model)
    head = find_pooled_head(graph)
    assert graph.producer(head.features).layer.name == "features"
    images = np.random.default_rng(0).normal(size=(3, *model.inputs[0].shape[1:])).astype(np.float32)
    features = keras.Model(model.inputs[0], model.get_layer("features").output)(images)
    logits = np.asarray(features).mean(axis=(1, 2)) @ head.weights + head.bias
    expected = np.asarray(model(images))
    if head.softmax:
        logits = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(logits, expected.reshape(logits.shape), rtol=1e-4, atol=1e-5)
    return head


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_dense_head(softmax, bias):
    model = tiny_model(softmax=softmax, bias=bias)
    head = check_identity(model)
    assert head.softmax == softmax
    assert head.weights.shape == (8, 5)
    assert head.description == "head <- pool"
    assert head.bias.any() == bias


def test_softmax_as_a_layer_of_its_own():
    gap = layers.GlobalAveragePooling2D()
    assert check_identity(model_of(gap, layers.Dense(4), layers.Softmax())).softmax
    assert check_identity(
        model_of(layers.GlobalAveragePooling2D(), layers.Dense(4), layers.Activation("softmax"))
    ).softmax


def test_dropout_and_flatten_are_passed_over():
    head = check_identity(
        model_of(layers.GlobalAveragePooling2D(keepdims=True), layers.Dropout(0.5), layers.Flatten(), layers.Dense(4))
    )
    assert not head.softmax


def test_one_by_one_convolution_over_pooled_features():
    head = check_identity(model_of(layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(4, 1), layers.Flatten()))
    assert head.weights.shape == (6, 4)


def test_average_pooling_over_the_whole_map():
    check_identity(model_of(layers.AveragePooling2D(14), layers.Flatten(), layers.Dense(4)))


def test_mean_as_an_operation():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, name="features")(inputs)
    check_identity(keras.Model(inputs, layers.Dense(4)(keras.ops.mean(x, axis=(1, 2)))))
    check_identity(keras.Model(inputs, layers.Dense(4)(keras.ops.mean(x, axis=[-2, -3]))))


def test_network_in_network():
    head = check_identity(model_of(layers.GlobalAveragePooling2D(), layers.Softmax()))
    np.testing.assert_array_equal(head.weights, np.eye(6))
    assert not head.bias.any()


def test_head_of_a_nested_backbone():
    backbone = model_of()
    inputs = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(backbone(inputs))
    graph = flatten(keras.Model(inputs, layers.Dense(4)(x)))
    assert graph.producer(find_pooled_head(graph).features).layer.name == "features"


@pytest.mark.parametrize(
    "tail",
    [
        [layers.Flatten(), layers.Dense(4, name="fc")],  # no pooling
        [layers.GlobalMaxPooling2D(), layers.Dense(4, name="fc")],
        [layers.GlobalAveragePooling2D(), layers.Dense(5, activation="relu"), layers.Dense(4, name="fc")],
        [layers.GlobalAveragePooling2D(), layers.Dense(5), layers.Dense(4, name="fc")],
        [layers.GlobalAveragePooling2D(), layers.Dense(4, activation="sigmoid", name="fc")],
        [layers.GlobalAveragePooling2D(), layers.Dense(4, activation="relu", name="fc")],
        [layers.GlobalAveragePooling2D(), layers.LayerNormalization(), layers.Dense(4, name="fc")],
        [layers.AveragePooling2D(2), layers.Flatten(), layers.Dense(4, name="fc")],
        [layers.GlobalAveragePooling2D(data_format="channels_first"), layers.Dense(4, name="fc")],
    ],
)
def test_other_heads_are_refused_with_the_layers_found(tail):
    with pytest.raises(NoHeadError, match=r"this one ends in fc \(Dense\)"):
        find_pooled_head(flatten(model_of(*tail)))


def test_a_head_on_two_branches_is_refused():
    inputs = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(inputs)
    y = layers.GlobalMaxPooling2D()(inputs)
    model = keras.Model(inputs, layers.Dense(4, name="fc")(layers.Concatenate(name="both")([x, y])))
    with pytest.raises(NoHeadError, match=r"fc \(Dense\) <- both \(Concatenate\)"):
        find_pooled_head(flatten(model))
