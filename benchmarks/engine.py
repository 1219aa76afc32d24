"""The engine against other ways to run the same Keras model, side by side in one run; prints ratios.

    python -m benchmarks.engine [--model PATH.keras --preprocess torch] [--rounds 5]

Each way labels the same batch of 32 images and gives the probabilities and the map of each image's top class. Each has
a process of its own, with the threads that it chooses by itself, and they take turns, so that a noisy machine is noisy
for all. OpenVINO (`pip install '.[bench]'`) and PyTorch (`pip install torch torchvision`, 6 GB from PyPI) are measured
where they are installed; PyTorch runs torchvision's ResNet-50 with random weights. The peers get images that are
preprocessed already, which is in their favour. The last row is no way to run a model: it multiplies matrices with as
many multiplications as ResNet-50 has, and so says how far from the processor's best the engines are.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import rich.console
import rich.table

BATCH = 32
SECONDS_PER_TURN = 3.0
RESNET50_MULTIPLICATIONS = 4.09e9  # per image of 224 px
BASELINE = "Keras predict_on_batch, float32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="default: keras.applications.ResNet50 with random weights")
    parser.add_argument("--preprocess", default="caffe")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.model or _random_resnet50(folder)
        ways = {name: _Way(name, path, arguments.preprocess) for name in WAYS}
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name, way in ways.items():
                if way.available:
                    speeds[name].append(way.images_per_second())
        for way in ways.values():
            way.stop()
    _print({name: values for name, values in speeds.items() if values})


class _Way:
    """One way in a process of its own."""

    def __init__(self, name: str, path: str, kind: str):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, path, kind), daemon=True)
        self._process.start()
        self.available = self._pipe.recv()

    def images_per_second(self) -> float:
        self._pipe.send("turn")
        return self._pipe.recv()

    def stop(self) -> None:
        if self.available:
            self._pipe.send("stop")
        self._process.join()


def _serve(pipe, name: str, path: str, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), np.uint8)
    try:
        work = WAYS[name](path, kind, pixels)
    except ImportError:
        pipe.send(False)
        return
    work()
    pipe.send(True)
    while pipe.recv() == "turn":
        work()
        started, batches = time.perf_counter(), 0
        while time.perf_counter() - started < SECONDS_PER_TURN:
            work()
            batches += 1
        pipe.send(batches * BATCH / (time.perf_counter() - started))


class _Peer:
    """The model with two outputs, features and logits, and the maps in NumPy."""

    def __init__(self, path: str, kind: str, pixels: np.ndarray):
        import keras

        from transforms.model.preprocess import preprocess

        model = keras.saving.load_model(path, compile=False)
        pooling = next(layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
        self.model = keras.Model(model.inputs, [pooling.input, model.output])
        self.images = preprocess(pixels.astype(np.float32), kind)
        self._weights = model.layers[-1].get_weights()[0]

    def label(self, outputs) -> tuple[np.ndarray, np.ndarray]:
        activations, logits = (np.asarray(output, np.float32) for output in outputs)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights = self._weights[:, logits.argmax(axis=1)].T[:, None, :, None]
        return exponentials / exponentials.sum(axis=1, keepdims=True), (activations @ weights)[..., 0]


def _keras(path: str, kind: str, pixels: np.ndarray) -> Callable[[], object]:
    peer = _Peer(path, kind, pixels)
    return lambda: peer.label(peer.model.predict_on_batch(peer.images))


def _tf_function(path: str, kind: str, pixels: np.ndarray) -> Callable[[], object]:
    import tensorflow as tf

    peer = _Peer(path, kind, pixels)
    compiled, images = tf.function(lambda x: peer.model(x, training=False)), tf.constant(peer.images)
    return lambda: peer.label(compiled(images))


def _openvino(hint: str) -> Callable[[str, str, np.ndarray], Callable[[], object]]:
    def make(path: str, kind: str, pixels: np.ndarray) -> Callable[[], object]:
        import openvino

        peer = _Peer(path, kind, pixels)
        converted = openvino.convert_model(peer.model, example_input=peer.images, input=[peer.images.shape])
        network = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": hint})
        return lambda: peer.label(network(peer.images).values())

    return make


def _torch(dtype: str) -> Callable[[str, str, np.ndarray], Callable[[], object]]:
    def make(path: str, kind: str, pixels: np.ndarray) -> Callable[[], object]:
        import torch
        import torchvision

        class TwoOutputs(torch.nn.Module):
            def __init__(self):
                super().__init__()
                model = torchvision.models.resnet50()
                self.features, self.head = torch.nn.Sequential(*list(model.children())[:-2]), model.fc

            def forward(self, images):
                activations = self.features(images)
                return activations.permute(0, 2, 3, 1), self.head(activations.mean((2, 3)))

        peer = _Peer(path, kind, pixels)
        model = TwoOutputs().eval().to(getattr(torch, dtype), memory_format=torch.channels_last)
        images = torch.from_numpy(peer.images).permute(0, 3, 1, 2).to(getattr(torch, dtype))
        with torch.inference_mode():
            compiled = torch.jit.freeze(torch.jit.trace(model, images))

        def work() -> object:
            with torch.inference_mode():
                return peer.label(output.float().numpy() for output in compiled(images))

        return work

    return make


def _matrix_products(path: str, kind: str, pixels: np.ndarray) -> Callable[[], object]:
    import tensorflow as tf

    side = round(RESNET50_MULTIPLICATIONS ** (1 / 3))
    matrix = tf.ones((side, side), tf.bfloat16)
    return lambda: [tf.matmul(matrix, matrix).numpy()[0, 0] for _ in range(BATCH)]


def _cambeam(precision: str) -> Callable[[str, str, np.ndarray], Callable[[], object]]:
    def make(path: str, kind: str, pixels: np.ndarray) -> Callable[[], object]:
        from transforms.model.settings import ModelSettings
        from transforms.predict.engine_settings import EngineSettings
        from transforms.predict.tensorflow_engine import TensorFlowEngine

        model = ModelSettings.model_validate({"source": path, "preprocess": kind, "precision": precision})
        engine = TensorFlowEngine(EngineSettings(model=model))
        return lambda: engine.predict(pixels, [None] * BATCH)

    return make


WAYS = {
    BASELINE: _keras,
    "tf.function, float32": _tf_function,
    "cambeam, float32": _cambeam("float32"),
    "OpenVINO, float32": _openvino("f32"),
    "cambeam, bfloat16": _cambeam("bfloat16"),
    "OpenVINO, bfloat16": _openvino("bf16"),
    "PyTorch, float32": _torch("float32"),
    "PyTorch, bfloat16": _torch("bfloat16"),
    "matrix products, bfloat16": _matrix_products,
}


def _random_resnet50(folder: str) -> str:
    import keras

    path = os.path.join(folder, "resnet50.keras")
    keras.applications.ResNet50(weights=None, classifier_activation=None).save(path)
    return path


def _print(speeds: dict[str, list[float]]) -> None:
    from transforms.predict.tensorflow_device import resolve

    baseline = statistics.median(speeds[BASELINE])
    title = f"batches of {BATCH}, {resolve('auto').name}"
    table = rich.table.Table("way", "images/s, median (range)", "of Keras", title=title)
    for name, values in speeds.items():
        median = statistics.median(values)
        table.add_row(name, f"{median:.0f} ({min(values):.0f} to {max(values):.0f})", f"{median / baseline:.2f}x")
    rich.console.Console().print(table)


if __name__ == "__main__":
    main()
