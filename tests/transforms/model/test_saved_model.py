"""SavedModels give what the same model gives as a .keras file."""

import os
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.factories import engine_settings
from tests.small_models import engine_of, features, flatten_and_dense, pixels, predict, randomize, resnet
from transforms.model.source import ModelError
from transforms.predict.tensorflow_engine import TensorFlowEngine


def softmax_resnet():
    return resnet(activation="softmax")


def convolutional_head():
    inputs, x = features("v1.5")
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Reshape((5,))(keras.layers.Conv2D(5, 1)(x))
    return randomize(keras.Model(inputs, keras.layers.Softmax()(x)))


def network_in_network():
    inputs, x = features("v1")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 1)(x))
    return randomize(keras.Model(inputs, keras.layers.Softmax()(x)))


def exported(model, folder) -> str:
    model.export(folder / "exported", verbose=False)
    return str(folder / "exported")


def keras_file(model, folder) -> str:
    model.save(folder / "model.keras")
    return str(folder / "model.keras")


def saved(model, folder) -> str:
    tf.saved_model.save(model, folder / "saved")
    return str(folder / "saved")


@pytest.mark.parametrize(
    ("build", "save"),
    [
        (resnet, exported),
        (softmax_resnet, saved),
        (convolutional_head, exported),
        (network_in_network, saved),
    ],
)
def test_equals_the_keras_file(tmp_path, build, save):
    model, images = build(), pixels()
    expected = predict(engine_of(model, tmp_path, top_k=5, weights="positive", flip=True), images)
    # in no other precision than its own, whatever the processor would have
    engine = load(save(model, tmp_path), precision="bfloat16", top_k=5, weights="positive", flip=True)
    got = predict(engine, images)
    assert engine.device.precision == "float32"
    np.testing.assert_array_equal(got.class_index, expected.class_index)
    for name in ("probability", "logit", "cams", "mirror_pair"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-4)


def load(path: str, preprocess: str = "tf", **settings):
    return TensorFlowEngine(engine_settings(path, preprocess=preprocess, **settings))


@pytest.mark.parametrize("save", [exported, keras_file])
def test_models_on_stores_are_copied_to_be_loaded_and_the_copies_removed(tmp_path, monkeypatch, save):
    path = save(resnet(), tmp_path)
    make_folder, copies = tempfile.mkdtemp, []
    monkeypatch.setattr("transforms.store.files.is_local", lambda path: False)
    monkeypatch.setattr(
        "tempfile.mkdtemp", lambda *args, **kwargs: copies.append(make_folder(*args, **kwargs)) or copies[-1]
    )
    images = pixels()
    engine = load(path)
    assert len(copies) == 1
    assert not os.path.exists(copies[0])
    got = predict(engine, images)
    monkeypatch.undo()
    np.testing.assert_array_equal(got.logit, predict(load(path), images).logit)


def test_what_cannot_be_used_is_refused(tmp_path):
    path = exported(flatten_and_dense(), tmp_path)
    with pytest.raises(ModelError, match="ends in Softmax <- BiasAdd <- MatMul <- Relu"):
        load(path)
    with pytest.raises(ModelError, match=r"set model\.preprocess"):
        load(path, "auto")
    for setting in ({"resolution": 14}, {"method": "grad-cam"}, {"refine": "affinity"}):
        with pytest.raises(ModelError, match=r"need a \.keras file"):
            load(path, **setting)


def test_signatures_that_are_not_from_images_to_classes_are_refused(tmp_path):
    def save(name: str, signature) -> str:
        module = tf.Module()
        module.call = tf.function(lambda *x: {"y": x[0]}, input_signature=signature) if signature else None
        tf.saved_model.save(module, str(tmp_path / name), signatures=module.call)
        return str(tmp_path / name)

    float_images = tf.TensorSpec((None, 8, 8, 3))
    with pytest.raises(ModelError, match="has no signature"):
        load(save("none", None))
    with pytest.raises(ModelError, match=r"takes uint8\(None, 8, 8, 3\)"):
        load(save("bytes", [tf.TensorSpec((None, 8, 8, 3), tf.uint8)]))
    with pytest.raises(ModelError, match="takes batches of one size only"):
        load(save("one", [tf.TensorSpec((1, 8, 8, 3))]))
    with pytest.raises(ModelError, match="expected one batch"):
        load(save("two", [float_images, float_images]))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(ModelError, match="can't be loaded as a SavedModel"):
        load(str(tmp_path / "damaged"))
