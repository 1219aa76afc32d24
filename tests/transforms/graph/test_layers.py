import keras
import numpy as np
import pytest

from tests.factories import tiny_model
from transforms.graph.layers import flatten


def names(graph):
    return [call.layer.name for call in graph.calls]


def test_functional_model_is_one_list_in_order():
    graph = flatten(tiny_model())
    assert names(graph)[1:] == ["features", "pool", "head"]
    assert [call.kind for call in graph.calls] == ["Rescaling", "Conv2D", "GlobalAveragePooling2D", "Dense"]
    assert graph.producer(graph.input) is None
    assert graph.producer(graph.output).layer.name == "head"
    # each takes what the one before it made
    assert [call.inputs for call in graph.calls] == [(0,), *(call.outputs for call in graph.calls[:-1])]


def test_sequential_model():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, name="a"), keras.layers.ReLU(name="b")])
    assert names(flatten(model)) == ["a", "b"]


def test_nested_models_are_laid_open():
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 1, name="inner_a"), keras.layers.ReLU(name="inner_b")]
    )
    inputs = keras.Input((8, 8, 3))
    x = inner(keras.layers.Conv2D(3, 1, name="before")(inputs))
    middle = keras.Model(inputs, keras.layers.ReLU(name="after")(x))
    outermost = keras.Sequential([keras.Input((8, 8, 3)), middle, keras.layers.GlobalAveragePooling2D(name="last")])
    assert names(flatten(outermost)) == ["before", "inner_a", "inner_b", "after", "last"]


def test_a_nested_model_that_is_called_twice_is_listed_twice():
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 1, name="shared")])
    inputs = keras.Input((8, 8, 3))
    graph = flatten(keras.Model(inputs, inner(inner(inputs))))
    first, second = graph.calls
    assert first.layer is second.layer
    assert second.inputs == first.outputs
    assert graph.output == second.outputs[0]


def test_branches_meet_and_until_leaves_the_rest_out():
    inputs = keras.Input((8, 8, 3))
    left = keras.layers.Conv2D(3, 1, name="left")(inputs)
    right = keras.layers.Conv2D(3, 1, name="right")(inputs)
    total = keras.layers.Add(name="total")([left, right])
    graph = flatten(keras.Model(inputs, keras.layers.ReLU(name="end")(total)))
    (add,) = [call for call in graph.calls if call.layer.name == "total"]
    assert {graph.producer(number).layer.name for number in add.inputs} == {"left", "right"}
    assert len(graph.consumers(graph.input)) == 2
    part = graph.until(graph.producer(add.inputs[0]).outputs[0])
    assert names(part) == ["left"]


def test_operations_are_told_from_layers():
    inputs = keras.Input((8, 8, 3))
    graph = flatten(keras.Model(inputs, keras.ops.mean(inputs * 2.0, axis=(1, 2))))
    assert [call.kind for call in graph.calls] == ["ops.Multiply", "ops.Mean"]


@keras.saving.register_keras_serializable("tests")
class Dense(keras.layers.Layer):
    def call(self, x):
        return x


def test_a_strangers_layer_does_not_pass_for_keras_own():
    inputs = keras.Input((8, 8, 3))
    graph = flatten(keras.Model(inputs, Dense()(inputs)))
    assert graph.calls[0].kind == f"{__name__}.Dense"


def test_arguments_are_filled_in_with_values():
    inputs = keras.Input((2, 2, 3))
    graph = flatten(keras.Model(inputs, keras.layers.Concatenate()([inputs, inputs])))
    (call,) = graph.calls
    value = np.ones((1, 2, 2, 3), np.float32)
    args, kwargs = call.fill_in({0: value})
    assert call.layer(*args, **kwargs).shape == (1, 2, 2, 6)


def test_what_can_not_be_walked_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="Own 'mine' is neither a functional nor a sequential"):
        flatten(Own(name="mine"))
    inputs = keras.Input((4, 4, 3))
    with pytest.raises(ValueError, match="1 inputs and 2 outputs, expected one of each"):
        flatten(keras.Model(inputs, [inputs * 1.0, inputs * 2.0]))
