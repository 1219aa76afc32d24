"""A Keras functional model as one flat list of layer calls, models nested in it included."""

import itertools
from typing import Any, NamedTuple

from transforms.errors import UserError


class Call(NamedTuple):
    """One call of one layer. Values are numbered; each is made by one call.

    Attributes:
      layer: a Keras layer or operation.
      arguments: of the call, with symbolic tensors in the places of values.
      symbols: the number of each symbolic tensor of the arguments, by its id().
      inputs, outputs: the numbers of the values that the call takes and makes.
      shape: of the first output, None where it depends on the input.
    """

    layer: Any
    arguments: Any
    symbols: dict[int, int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shape: tuple[int | None, ...]

    @property
    def kind(self) -> str:
        """The class name of one of Keras' own layers; "ops.<class name>" of an operation; else the full name."""
        module, name = type(self.layer).__module__, type(self.layer).__name__
        if module.startswith("keras.src.ops."):
            return f"ops.{name}"
        return name if module.startswith("keras.") else f"{module}.{name}"

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of a convolution or pooling, (vertical, horizontal); (1, 1) of other layers."""
        strides = getattr(self.layer, "strides", (1, 1))
        return (strides, strides) if isinstance(strides, int) else tuple(strides)

    def fill_in(self, values: dict[int, Any]) -> tuple[tuple, dict]:
        """Returns the call's positional and keyword arguments with the values in place."""
        return self.arguments.fill_in({symbol: values[number] for symbol, number in self.symbols.items()})


class LayerGraph(NamedTuple):
    """A model's calls in an order in which they can be made.

    Attributes:
      input, output: the numbers of the model's one input and one output.
    """

    calls: list[Call]
    input: int
    output: int

    def producer(self, value: int) -> Call | None:
        """Returns the call that makes a value; None for the model's input."""
        return next((call for call in self.calls if value in call.outputs), None)

    def consumers(self, value: int) -> list[Call]:
        """Returns the calls that take a value."""
        return [call for call in self.calls if value in call.inputs]

    def strides(self) -> dict[int, int]:
        """Returns, for each value, how many rows of the input one of its rows stands for."""
        strides = {self.input: 1}
        for call in self.calls:
            stride = max(strides[number] for number in call.inputs) * call.strides[0]
            strides |= dict.fromkeys(call.outputs, stride)
        return strides

    def until(self, value: int) -> "LayerGraph":
        """Returns the part of the graph that a value needs."""
        needed, calls = {value}, []
        for call in reversed(self.calls):
            if needed & set(call.outputs):
                needed |= set(call.inputs)
                calls.append(call)
        return LayerGraph(calls[::-1], self.input, value)


def flatten(model: Any) -> LayerGraph:
    """Lists the layer calls of a functional or sequential model, and of the models within it.

    Raises:
      UserError: the model is a subclass with code of its own, or has several inputs or outputs.
    """
    functional = _functional(model)
    if functional is None:
        raise UserError(f"{type(model).__name__} {model.name!r} is neither a functional nor a sequential Keras model")
    if len(functional.inputs) != 1 or len(functional.outputs) != 1:
        raise UserError(
            f"the model has {len(functional.inputs)} inputs and {len(functional.outputs)} outputs, expected one of each"
        )
    numbers, calls = itertools.count(1), []

    def inline(functional: Any, inputs: list[int]) -> list[int]:
        value_of = {id(tensor): number for tensor, number in zip(functional.inputs, inputs, strict=True)}
        # Keras lists the nodes of a functional model by depth: inputs have the greatest
        for _, nodes in sorted(functional._nodes_by_depth.items(), reverse=True):
            for node in nodes:
                if node.is_input:
                    continue
                taken = [value_of[id(tensor)] for tensor in node.input_tensors]
                inner = _functional(node.operation)
                if inner:
                    made = inline(inner, taken)
                else:
                    made = [next(numbers) for _ in node.outputs]
                    symbols = {id(tensor): value_of[id(tensor)] for tensor in node.input_tensors}
                    shape = tuple(node.outputs[0].shape)
                    calls.append(Call(node.operation, node.arguments, symbols, tuple(taken), tuple(made), shape))
                value_of.update(zip(map(id, node.outputs), made, strict=True))
        return [value_of[id(tensor)] for tensor in functional.outputs]

    (output,) = inline(functional, [0])
    return LayerGraph(calls, 0, output)


def _functional(layer: Any) -> Any:
    """Returns the functional model that a layer is, or None."""
    import keras

    if isinstance(layer, keras.Sequential):
        return keras.Model(layer.inputs, layer.outputs)
    return layer if type(layer).__name__ == "Functional" else None
