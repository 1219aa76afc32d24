import dataclasses
import logging

import numpy as np
import pytest
import tensorflow as tf

from tests.factories import engine_settings, tiny_model
from transforms.cam.method import Features
from transforms.model import sources
from transforms.model.source import ModelError
from transforms.predict import checks, tensorflow_device
from transforms.predict.device import Device
from transforms.predict.tensorflow_engine import TensorFlowEngine

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
NO_LABELS = [None] * 20


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
    got = TensorFlowEngine(
        engine_settings(
            saved(), precision="float32", top_k=3, weights="signed", logits=True, embeddings=True, activations=True
        )
    ).predict(PIXELS, NO_LABELS)
    order = np.argsort(-logits, axis=1)[:, :3]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(got.class_index, order)
    np.testing.assert_array_equal(got.rank, np.tile([0, 1, 2], (20, 1)))
    assert got.present.all()
    np.testing.assert_allclose(got.logits, logits, atol=1e-4)
    np.testing.assert_allclose(got.logit, np.take_along_axis(logits, order, 1), atol=1e-4)
    np.testing.assert_allclose(got.probability, np.take_along_axis(probability, order, 1), atol=1e-5)
    np.testing.assert_allclose(got.activations, features, atol=1e-5)
    np.testing.assert_allclose(got.embedding, features.mean(axis=(1, 2)), atol=1e-5)
    # equation 2 for each image and each of its classes, and its identity with the logit
    np.testing.assert_allclose(got.cams, np.einsum("nhwc,cnk->nkhw", features, weights[:, order]), atol=1e-4)
    np.testing.assert_allclose(got.cams.mean(axis=(2, 3)) + bias[order], got.logit, atol=1e-4)


def test_optional_outputs_are_left_out(saved):
    got = TensorFlowEngine(engine_settings(saved(), precision="float32")).predict(PIXELS, NO_LABELS)
    assert (got.logits, got.embedding, got.activations) == (None, None, None)
    assert got.cams.shape == (20, 1, 8, 8)
    assert {
        name: getattr(got, name).dtype.name for name in ("class_index", "probability", "rank", "present", "cams")
    } == {
        "class_index": "int32",
        "probability": "float32",
        "rank": "int32",
        "present": "bool",
        "cams": "float32",
    }


def test_top_k_is_at_most_the_number_of_classes(saved):
    got = TensorFlowEngine(engine_settings(saved(), precision="float32", top_k=50)).predict(PIXELS[:2], NO_LABELS[:2])
    assert got.class_index.shape == (2, 5)
    np.testing.assert_allclose(got.probability.sum(axis=1), 1, rtol=1e-5)


def test_the_own_label_is_added_with_its_rank_unless_it_is_there(saved, expected):
    _, logits, _ = expected
    order = np.argsort(-logits, axis=1)
    labels = [int(order[0, 0]), int(order[1, 1]), int(order[2, 2]), int(order[3, 4]), None, 5]
    settings = engine_settings(saved(), precision="float32", top_k=2, include_label=True)
    got = TensorFlowEngine(settings).predict(PIXELS[:6], labels)
    # the first two are among the top two; the last two are no class: their third place holds nothing
    assert got.present.tolist() == [[True, True, row in (2, 3)] for row in range(6)]
    assert got.rank[:, :2].tolist() == [[0, 1]] * 6
    assert got.rank[2:4, 2].tolist() == [2, 4]
    assert got.class_index[2:4, 2].tolist() == labels[2:4]
    np.testing.assert_allclose(got.logit[3, 2], logits[3, labels[3]], atol=1e-4)


def test_pieces_give_what_the_whole_gives(saved):
    engine = TensorFlowEngine(engine_settings(saved(), precision="float32", embeddings=True))
    for count in (1, 9, 20):
        pieces = engine.predict(PIXELS[:count], NO_LABELS[:count])
        whole = engine.predict_piece(PIXELS[:count], NO_LABELS[:count])
        for name, part in pieces._asdict().items():
            np.testing.assert_array_equal(part, getattr(whole, name), err_msg=name)


def test_softmax_models_are_understood(saved):
    loaded = saved("softmax", softmax=True)
    plain = TensorFlowEngine(engine_settings(saved(), precision="float32")).predict(PIXELS, NO_LABELS)
    got = TensorFlowEngine(engine_settings(loaded, precision="float32")).predict(PIXELS, NO_LABELS)
    np.testing.assert_allclose(got.probability, plain.probability, rtol=1e-4)  # the same weights, by the same seed


def test_bfloat16_stays_close_to_float32(saved):
    exact = TensorFlowEngine(engine_settings(saved(), precision="float32", logits=True))
    narrow = TensorFlowEngine(engine_settings(saved(), precision="bfloat16", logits=True))
    assert (exact.device.precision, narrow.device.precision) == ("float32", "bfloat16")
    assert narrow.device.reason == "as configured"
    a, b = exact.predict(PIXELS, NO_LABELS).logits, narrow.predict(PIXELS, NO_LABELS).logits
    assert 0 < np.abs(a - b).max() < 0.02 * np.abs(a).max()


def test_a_misread_head_is_refused(saved, monkeypatch):
    real_load = sources.load

    def misread(*args):
        classifier = real_load(*args)
        head = classifier.method.head._replace(weights=classifier.method.head.weights * 1.01)
        return dataclasses.replace(classifier, method=classifier.method._replace(head=head))

    monkeypatch.setattr(sources, "load", misread)
    with pytest.raises(ModelError, match=r"differs from the logit .* the head head <- pool was misread"):
        TensorFlowEngine(engine_settings(saved(), precision="float32"))
    with pytest.raises(ModelError, match="was misread"):
        TensorFlowEngine(engine_settings(saved("softmax", softmax=True), precision="float32"))


def test_a_model_that_is_not_finite_is_refused(saved, tmp_path):
    broken = tiny_model()
    kernel, bias = broken.get_layer("head").get_weights()
    broken.get_layer("head").set_weights([kernel * np.nan, bias])
    broken.save(tmp_path / "nan.keras")
    with pytest.raises(ModelError, match="misread"):
        TensorFlowEngine(engine_settings(str(tmp_path / "nan.keras"), precision="float32"))


def test_a_precision_that_does_not_suffice_falls_back_to_float32(saved, monkeypatch, caplog):
    monkeypatch.setattr(checks, "MAP_TOLERANCE", 0.0)
    with caplog.at_level(logging.WARNING, "cambeam"):
        built = TensorFlowEngine(engine_settings(saved(), precision="bfloat16", logits=True))
    assert built.device.precision == "float32"
    assert "bfloat16 was tried and strays" in built.device.reason
    assert "computes in float32" in caplog.text
    exact = TensorFlowEngine(engine_settings(saved(), precision="float32", logits=True)).predict(PIXELS, NO_LABELS)
    np.testing.assert_array_equal(built.predict(PIXELS, NO_LABELS).logits, exact.logits)


def calls_python(monkeypatch, function):
    """Makes models call a Python function on their features, which XLA can't compile."""
    real_load = sources.load

    def load(*args):
        classifier = real_load(*args)
        plain = classifier.features("float32")

        def features(images):
            maps = plain(images).dense
            maps = tf.ensure_shape(tf.numpy_function(function, [maps], tf.float32), maps.shape)
            return Features(images, maps, maps)

        return dataclasses.replace(classifier, features=lambda dtype: features)

    monkeypatch.setattr(sources, "load", load)


def test_a_device_that_cannot_run_a_model_is_an_error_of_one_line(saved, monkeypatch):
    def fail(values):
        raise NotImplementedError("no such kernel")

    calls_python(monkeypatch, fail)
    with pytest.raises(ModelError, match=r"can't be run on .* cores: .*no such kernel$"):
        TensorFlowEngine(engine_settings(saved()))


@pytest.fixture
def on_gpu(monkeypatch):
    """A made-up GPU: XLA compiles for processors too."""
    monkeypatch.setattr(tensorflow_device, "resolve", lambda precision: Device("a GPU", True, "float32", "a test"))


def test_a_model_that_xla_cannot_compile_runs_without_it(saved, on_gpu, monkeypatch, caplog):
    settings = engine_settings(saved(), batch_size=4)
    expected = TensorFlowEngine(settings).predict(PIXELS, NO_LABELS)
    assert "without" not in caplog.text
    calls_python(monkeypatch, lambda values: values)
    got = TensorFlowEngine(settings).predict(PIXELS, NO_LABELS)
    assert "can't be run on a GPU with XLA, trying without" in caplog.text
    np.testing.assert_allclose(got.cams, expected.cams, rtol=1e-5, atol=1e-6)


def test_memory_that_xla_alone_lacks_does_not_shrink_batches(saved, on_gpu, monkeypatch, caplog):
    compile_function, sizes = tf.function, []

    def function(**options):
        def run(name):
            def wrapper(pixels, *labels):
                if options["jit_compile"]:
                    raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
                sizes.append(len(pixels))
                return name(pixels, *labels)

            return wrapper

        return lambda traced: run(compile_function(**options | {"jit_compile": False})(traced))

    monkeypatch.setattr(tf, "function", function)
    TensorFlowEngine(engine_settings(saved(), batch_size=4))
    assert sizes == [4]
