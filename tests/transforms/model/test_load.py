import keras
import pytest

from tests.factories import tiny_model
from transforms.cam.settings import CamSettings
from transforms.model import load as model
from transforms.model.load import ModelError
from transforms.model.settings import ModelSettings


def load(source, **settings):
    return model.load(ModelSettings(source=source, **settings), CamSettings())


@pytest.fixture
def save(tmp_path):
    def save(built, name="m.keras"):
        built.save(tmp_path / name)
        return str(tmp_path / name)

    return save


def test_a_keras_file_is_features_and_a_head(save):
    loaded = load(save(tiny_model()))
    assert (loaded.name, loaded.side_px, loaded.preprocess, loaded.head.softmax) == ("tiny", 32, "none", False)
    assert loaded.head.weights.shape == (8, 5)


def with_input(*shape):
    inputs = keras.Input(shape)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(x), name="resnet50")


def test_a_model_of_any_size_is_used_at_224(save):
    assert load(save(with_input(None, None, 3))).side_px == 224


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((32, 32, 1), r"expected \(n, height, width, 3\)"), ((32, 48, 3), "is 48x32, expected a square")],
)
def test_inputs_that_are_no_square_rgb_images(save, shape, expected):
    with pytest.raises(ModelError, match=expected):
        load(save(with_input(*shape)))


def test_a_missing_head_is_named_with_the_file(save):
    inputs = keras.Input((8, 8, 3))
    path = save(keras.Model(inputs, keras.layers.Dense(2, name="fc")(keras.layers.Flatten()(inputs)), name="resnet50"))
    with pytest.raises(ModelError, match=r"m\.keras: class activation maps need .* this one ends in fc \(Dense\)"):
        load(path)


def test_unknown_preprocessing_is_asked_for_and_can_be_set(save):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    path = save(keras.Model(inputs, keras.layers.Dense(2)(x), name="mine"))
    with pytest.raises(ModelError, match=r"set model\.preprocess"):
        load(path)
    assert load(path, preprocess="torch").preprocess == "torch"


def test_code_in_a_model_file_is_not_run(save):
    inputs = keras.Input((8, 8, 3))
    path = save(keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs)))
    with pytest.raises(ModelError, match="can't be loaded as a Keras model"):
        load(path)


def test_fingerprints_tell_contents_apart(save):
    first, same, other = (save(tiny_model(seed=seed), f"{n}.keras") for n, seed in enumerate((0, 0, 1)))
    assert model.fingerprint(first) != model.fingerprint(other)
    with open(first, "rb") as file:
        content = file.read()
    with open(same, "wb") as file:
        file.write(content)
    assert model.fingerprint(first) == model.fingerprint(same)  # by content, not by name
    with pytest.raises(ModelError, match="no model at"):
        model.fingerprint(first + ".gone.keras")


def test_class_names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("a cat\nkäse\n")
    assert model.class_names("m.keras", str(path), 2) == ["a cat", "käse"]
    assert model.class_names("m.keras", None, 2) == ["class_0", "class_1"]
    assert model.class_names("demo", None, 8)[:2] == ["circle", "square"]
    with pytest.raises(ModelError, match="names 2 classes, but the model has 3"):
        model.class_names("m.keras", str(path), 3)
    with pytest.raises(ModelError, match="can't read the class names"):
        model.class_names("m.keras", str(tmp_path / "gone"), 3)


def test_imagenet_without_a_network_says_where_to_put_the_files(monkeypatch):
    def fail(*args, **kwargs):
        raise Exception("no network")  # as Keras does

    monkeypatch.setattr(keras.applications, "ResNet50", fail)
    monkeypatch.setattr(keras.applications.imagenet_utils, "decode_predictions", fail)
    advice = r"no network.*put Keras' files resnet50_.*\.h5 and imagenet_class_index\.json into .*or pass your own"
    with pytest.raises(ModelError, match=advice):
        load("imagenet")
    with pytest.raises(ModelError, match=advice):
        model.class_names("imagenet", None, 1000)
