import dataclasses
import logging

import numpy as np
import pytest
import tensorflow as tf

from tests.factories import FakeEngine, predictions, tiny_model
from transforms.model import load as model
from transforms.predict import checks, device
from transforms.predict.engine import Engine, EngineSettings, concatenate

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
NO_LABELS = np.full(20, -1, np.int32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function that saves a tiny model and returns its path."""
    folder = tmp_path_factory.mktemp("models")

    def save(name="tiny", **options):
        path = folder / f"{name}.keras"
        if not path.exists():
            tiny_model(**options).save(path)
        return str(path)

    return save


@pytest.fixture(scope="module")
def expected(saved):
    """What Keras itself makes of the tiny model: features and logits of PIXELS."""
    import keras

    loaded = keras.saving.load_model(saved())
    features = keras.Model(loaded.inputs[0], loaded.get_layer("features").output)
    images = PIXELS.astype(np.float32)
    return np.asarray(features(images)), np.asarray(loaded(images)), loaded.get_layer("head").get_weights()


def test_predictions_are_those_of_keras(saved, expected):
    features, logits, (weights, bias) = expected
    got = Engine(
        EngineSettings(saved(), precision="float32", top_k=3, logits=True, embeddings=True, activations=True)
    ).predict(PIXELS, NO_LABELS)
    order = np.argsort(-logits, axis=1)[:, :3]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(got.class_index, order)
    np.testing.assert_array_equal(got.rank, np.tile([0, 1, 2], (20, 1)))
    np.testing.assert_allclose(got.logits, logits, atol=1e-4)
    np.testing.assert_allclose(got.logit, np.take_along_axis(logits, order, 1), atol=1e-4)
    np.testing.assert_allclose(got.probability, np.take_along_axis(probability, order, 1), atol=1e-5)
    np.testing.assert_allclose(got.activations, features, atol=1e-5)
    np.testing.assert_allclose(got.embedding, features.mean(axis=(1, 2)), atol=1e-5)
    # equation 2 for each image and each of its classes, and its identity with the logit
    np.testing.assert_allclose(got.cams, np.einsum("nhwc,cnk->nkhw", features, weights[:, order]), atol=1e-4)
    np.testing.assert_allclose(got.cams.mean(axis=(2, 3)) + bias[order], got.logit, atol=1e-4)


def test_optional_outputs_are_left_out(saved):
    got = Engine(EngineSettings(saved(), precision="float32")).predict(PIXELS, NO_LABELS)
    assert (got.logits, got.embedding, got.activations) == (None, None, None)
    assert got.cams.shape == (20, 1, 8, 8)
    assert {name: getattr(got, name).dtype.name for name in ("class_index", "probability", "rank", "cams")} == {
        "class_index": "int32",
        "probability": "float32",
        "rank": "int32",
        "cams": "float32",
    }


def test_top_k_is_at_most_the_number_of_classes(saved):
    got = Engine(EngineSettings(saved(), precision="float32", top_k=50)).predict(PIXELS[:2], NO_LABELS[:2])
    assert got.class_index.shape == (2, 5)
    np.testing.assert_allclose(got.probability.sum(axis=1), 1, rtol=1e-5)


def test_the_own_label_is_added_with_its_rank_unless_it_is_there(saved, expected):
    _, logits, _ = expected
    order = np.argsort(-logits, axis=1)
    labels = np.array([order[0, 0], order[1, 1], order[2, 2], order[3, 4], -1, 5], np.int32)
    settings = EngineSettings(saved(), precision="float32", top_k=2, include_label=True)
    got = Engine(settings).predict(PIXELS[:6], labels)
    # the first two are among the top two; the last two are no class: their third place holds nothing
    assert got.rank.tolist() == [[0, 1, -1], [0, 1, -1], [0, 1, 2], [0, 1, 4], [0, 1, -1], [0, 1, -1]]
    assert got.class_index[2:4, 2].tolist() == labels[2:4].tolist()
    np.testing.assert_allclose(got.logit[3, 2], logits[3, labels[3]], atol=1e-4)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17, 20])
def test_pieces_give_what_the_whole_gives(saved, count):
    whole = Engine(EngineSettings(saved(), precision="float32", embeddings=True))
    got = whole.predict(PIXELS[:count], NO_LABELS[:count])
    expected = whole._run(PIXELS[:count], NO_LABELS[:count])
    for name, part in got._asdict().items():
        np.testing.assert_array_equal(part, getattr(expected, name), err_msg=name)


def test_softmax_models_are_understood(saved):
    loaded = saved("softmax", softmax=True)
    plain = Engine(EngineSettings(saved(), precision="float32")).predict(PIXELS, NO_LABELS)
    got = Engine(EngineSettings(loaded, precision="float32")).predict(PIXELS, NO_LABELS)
    np.testing.assert_allclose(got.probability, plain.probability, rtol=1e-4)  # the same weights, by the same seed


def test_bfloat16_stays_close_to_float32(saved):
    exact = Engine(EngineSettings(saved(), precision="float32", logits=True))
    narrow = Engine(EngineSettings(saved(), precision="bfloat16", logits=True))
    assert (exact.device.precision, narrow.device.precision) == ("float32", "bfloat16")
    assert narrow.device.reason == "as configured"
    a, b = exact.predict(PIXELS, NO_LABELS).logits, narrow.predict(PIXELS, NO_LABELS).logits
    assert 0 < np.abs(a - b).max() < 0.02 * np.abs(a).max()


def test_a_misread_head_is_refused(saved, monkeypatch):
    real_load = model.load

    def misread(*args):
        classifier = real_load(*args)
        head = classifier.head._replace(weights=classifier.head.weights * 1.01)
        return dataclasses.replace(classifier, head=head)

    monkeypatch.setattr(model, "load", misread)
    with pytest.raises(model.ModelError, match=r"differs from the logit .* the head head <- pool was misread"):
        Engine(EngineSettings(saved(), precision="float32"))
    with pytest.raises(model.ModelError, match="was misread"):
        Engine(EngineSettings(saved("softmax", softmax=True), precision="float32"))


def test_a_model_that_is_not_finite_is_refused(saved, tmp_path):
    broken = tiny_model()
    kernel, bias = broken.get_layer("head").get_weights()
    broken.get_layer("head").set_weights([kernel * np.nan, bias])
    broken.save(tmp_path / "nan.keras")
    with pytest.raises(model.ModelError, match="misread"):
        Engine(EngineSettings(str(tmp_path / "nan.keras"), precision="float32"))


def test_a_precision_that_does_not_suffice_falls_back_to_float32(saved, monkeypatch, caplog):
    monkeypatch.setattr(checks, "MAP_TOLERANCE", 0.0)
    with caplog.at_level(logging.WARNING, "cambeam"):
        built = Engine(EngineSettings(saved(), precision="bfloat16", logits=True))
    assert built.device.precision == "float32"
    assert "bfloat16 was tried and strays" in built.device.reason
    assert "computes in float32" in caplog.text
    exact = Engine(EngineSettings(saved(), precision="float32", logits=True)).predict(PIXELS, NO_LABELS)
    np.testing.assert_array_equal(built.predict(PIXELS, NO_LABELS).logits, exact.logits)


def test_auto_precision_is_what_the_processor_has(monkeypatch):
    for flags, precision in (({"avx512_bf16"}, "bfloat16"), ({"amx_bf16"}, "bfloat16"), ({"avx2"}, "float32")):
        monkeypatch.setattr(device, "_cpu", lambda flags=flags: ("a processor", flags))
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
        assert device.resolve("auto").precision == precision
        assert device.resolve("float32").precision == "float32"


@pytest.mark.parametrize(
    ("capability", "precision"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")]
)
def test_auto_precision_on_gpus(monkeypatch, capability, precision):
    details = {"device_name": "a GPU", "compute_capability": capability}
    device.configure_tensorflow()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    found = device.resolve("auto")
    assert (found.name, found.is_gpu, found.precision) == ("a GPU", True, precision)


def test_several_gpus_are_not_passed_over_in_silence(monkeypatch, caplog):
    details = {"device_name": "a GPU", "compute_capability": (9, 0)}
    device.configure_tensorflow()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0", "GPU:1"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    device.resolve("auto")
    assert "1 of 2 GPUs is used" in caplog.text


def test_float32_is_not_rounded_on_gpus():
    device.configure_tensorflow()
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_a_device_that_cannot_run_a_model_is_an_error_of_one_line(saved, monkeypatch):
    def fail(*args):
        raise tf.errors.UnimplementedError(None, None, "no such kernel\nin a stack of calls")

    monkeypatch.setattr(Engine, "_run", fail)
    with pytest.raises(model.ModelError, match=r"can't be run on .* cores: no such kernel$"):
        Engine(EngineSettings(saved()))


def test_a_model_that_xla_cannot_compile_runs_without_it(saved, monkeypatch, caplog):
    """On a made-up GPU: XLA compiles for processors too, and can't compile Python functions there either."""
    real_load = model.load

    def with_python(*args):
        classifier = real_load(*args)
        plain = classifier.features("float32")

        def features(images):
            (maps,) = plain(images)
            return [tf.ensure_shape(tf.numpy_function(lambda values: values, [maps], tf.float32), maps.shape)]

        return dataclasses.replace(classifier, features=lambda dtype: features)

    expected = Engine(EngineSettings(saved(), precision="float32")).predict(PIXELS, NO_LABELS)
    monkeypatch.setattr(model, "load", with_python)
    monkeypatch.setattr(device, "resolve", lambda precision: device.Device("a GPU", True, "float32", "a test"))
    got = Engine(EngineSettings(saved(), batch_size=4)).predict(PIXELS, NO_LABELS)
    assert "can't be run on a GPU with XLA, trying without" in caplog.text
    np.testing.assert_allclose(got.cams, expected.cams, rtol=1e-5, atol=1e-6)


def test_memory_that_xla_alone_lacks_does_not_shrink_batches(saved, monkeypatch, caplog):
    real_run, sizes = Engine._run, []

    def run(self, pixels, labels):
        if self._use_xla:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        sizes.append(len(pixels))
        return real_run(self, pixels, labels)

    monkeypatch.setattr(Engine, "_run", run)
    monkeypatch.setattr(device, "resolve", lambda precision: device.Device("a GPU", True, "float32", "a test"))
    Engine(EngineSettings(saved(), batch_size=4))
    assert sizes == [4]


class GpuOf(Engine):
    """An engine on a made-up GPU whose memory holds a number of images."""

    def __init__(self, capacity, batch_size):
        self.device = device.Device("a GPU", True, "float32", "a test")
        self._max_piece, self.capacity, self.sizes = batch_size, capacity, []

    def _run(self, pixels, labels):
        self.sizes.append(len(pixels))
        if len(pixels) > self.capacity:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return predictions(len(pixels))._replace(class_index=pixels[:, 0, 0, :1].astype(np.int32))


def test_out_of_memory_halves_the_batch_once_and_for_all(caplog):
    gpu = GpuOf(capacity=3, batch_size=8)
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    got = gpu.predict(pixels, np.full(10, -1, np.int32))
    assert got.class_index.ravel().tolist() == list(range(10))
    assert gpu.sizes == [8, 4, 2, 2, 2, 2, 2]
    gpu.sizes.clear()
    gpu.predict(pixels[:4], np.full(4, -1, np.int32))
    assert gpu.sizes == [2, 2]


def test_a_gpu_gets_batches_of_one_shape():
    gpu = GpuOf(capacity=8, batch_size=8)
    got = gpu.predict(np.zeros((11, 2, 2, 3), np.uint8), np.full(11, -1, np.int32))
    assert gpu.sizes == [8, 8]
    assert len(got.class_index) == 11


def test_one_image_that_does_not_fit_is_an_error(caplog):
    with pytest.raises(tf.errors.ResourceExhaustedError):
        GpuOf(capacity=0, batch_size=4).predict(np.zeros((4, 2, 2, 3), np.uint8), np.full(4, -1, np.int32))


def test_concatenate_keeps_what_is_there():
    joined = concatenate([predictions(2), predictions(3)])
    assert len(joined.class_index) == 5
    assert joined.logits is None


def test_the_fake_has_the_engines_interface():
    assert isinstance(
        FakeEngine().predict(np.zeros_like(PIXELS[:2]), NO_LABELS[:2]).select(slice(1)), type(predictions(1))
    )
