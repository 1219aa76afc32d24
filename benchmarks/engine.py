"""The engine against other ways to run the same Keras model, side by side in one run; prints ratios.

    python -m benchmarks.engine [--model PATH.keras --preprocess torch] [--rounds 5]

Each way labels the same batch of 32 images, in turns, so that a noisy machine is noisy for all. OpenVINO is
measured where it is installed (`pip install openvino`), with the same weights.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import rich.console
import rich.table

from transforms import device
from transforms.engine import Engine, EngineSettings

BATCH = 32
SECONDS_PER_TURN = 3.0


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="default: keras.applications.ResNet50 with random weights")
    parser.add_argument("--preprocess", default="caffe")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    device.configure_tensorflow()
    path = arguments.model or _random_resnet50()
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), np.uint8)
    ways = _ways(path, arguments.preprocess, pixels)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, work in ways.items():
            speeds[name].append(_images_per_second(work))
    _print(speeds)


def _ways(path: str, kind: str, pixels: np.ndarray) -> dict[str, Callable[[], object]]:
    """Returns each way by name; each gives probabilities and the top class's map of the same images.

    The peers get images that are preprocessed already, which is in their favour.
    """
    import keras
    import tensorflow as tf

    from transforms import head, layers
    from transforms.preprocess import preprocess

    model = keras.saving.load_model(path, compile=False)
    found = head.find_head(layers.flatten(model))
    features = next(layer for layer in model.layers if layer.name == "avg_pool").input
    both = keras.Model(model.inputs, [features, model.output])
    images = preprocess(tf.constant(pixels), kind).numpy()
    weights = found.weights

    def cam(outputs) -> np.ndarray:
        activations, logits = (np.asarray(output, np.float32) for output in outputs)
        return np.einsum("nhwc,cn->nhw", activations, weights[:, logits.argmax(axis=1)])

    compiled = tf.function(lambda x: both(x, training=False))
    on_device = tf.constant(images)
    labels = np.full(BATCH, -1, np.int32)
    ways: dict[str, Callable[[], object]] = {
        "Keras predict_on_batch, float32": lambda: cam(both.predict_on_batch(images)),
        "tf.function, float32": lambda: cam(compiled(on_device)),
    }
    for precision in ("float32", "bfloat16"):
        engine = Engine(EngineSettings(path, kind, precision))
        ways[f"cambeam, {precision}"] = lambda engine=engine: engine.predict(pixels, labels)
    try:
        import openvino
    except ImportError:
        return ways
    converted = openvino.convert_model(both, example_input=images, input=[images.shape])
    for precision, hint in (("float32", "f32"), ("bfloat16", "bf16")):
        network = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": hint})
        ways[f"OpenVINO, {precision}"] = lambda network=network: cam(network(images).values())
    return ways


def _random_resnet50() -> str:
    import tempfile

    import keras

    path = os.path.join(tempfile.mkdtemp(), "resnet50.keras")
    keras.applications.ResNet50(weights=None, classifier_activation=None).save(path)
    return path


def _images_per_second(work: Callable[[], object]) -> float:
    work()
    started, batches = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS_PER_TURN:
        work()
        batches += 1
    return batches * BATCH / (time.perf_counter() - started)


def _print(speeds: dict[str, list[float]]) -> None:
    baseline = statistics.median(speeds["Keras predict_on_batch, float32"])
    table = rich.table.Table(
        "way", "images/s, median", "of Keras", title=f"batches of {BATCH}, {device.resolve('auto').name}"
    )
    for name, values in speeds.items():
        median = statistics.median(values)
        table.add_row(name, f"{median:.0f} ({min(values):.0f} to {max(values):.0f})", f"{median / baseline:.2f}x")
    rich.console.Console().print(table)


if __name__ == "__main__":
    main()
