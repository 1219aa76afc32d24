"""Models are found, loaded, named and told apart by what `model.source` says."""

import keras
import pytest

from tests.factories import tiny_model
from transforms.cam.settings import CamSettings
from transforms.model import sources
from transforms.model.settings import ModelSettings
from transforms.model.source import ModelError
from transforms.model.sources import SOURCES, find
from transforms.model.stored import StoredSource


def load(source, **settings):
    return sources.load(ModelSettings(source=str(source), **settings), CamSettings())


def class_names(source, num_classes, path=None):
    return sources.class_names(ModelSettings(source=source, class_names=path and str(path)), num_classes)


@pytest.fixture
def save(tmp_path):
    def save(built, name="m.keras"):
        built.save(tmp_path / name)
        return str(tmp_path / name)

    return save


def test_a_keras_file_is_features_and_a_head(save):
    loaded = load(save(tiny_model()))
    assert (loaded.name, loaded.side_px, loaded.preprocess, loaded.method.head.softmax) == ("tiny", 32, "none", False)
    assert loaded.method.head.weights.shape == (8, 5)


def with_input(*shape):
    inputs = keras.Input(shape)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(x), name="resnet50")


def test_a_model_of_any_size_is_used_at_224(save):
    assert load(save(with_input(None, None, 3))).side_px == 224


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((32, 32, 1), r"m\.keras: .* expected \(n, height, width, 3\)"), ((32, 48, 3), "is 48x32, expected a square")],
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
    with pytest.raises(ModelError, match=r"m\.keras: it can't be loaded as a Keras model"):
        load(path)


def test_fingerprints_tell_contents_apart(save):
    first, same, other = (save(tiny_model(seed=seed), f"{n}.keras") for n, seed in enumerate((0, 0, 1)))
    assert find(first).fingerprint() != find(other).fingerprint()
    with open(first, "rb") as file:
        content = file.read()
    with open(same, "wb") as file:
        file.write(content)
    assert find(first).fingerprint() == find(same).fingerprint()  # by content, not by name
    with pytest.raises(ModelError, match="no model at"):
        find(first + ".gone.keras").fingerprint()


def test_class_names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("a cat\nkäse\n")
    assert class_names("m.keras", 2, path) == ["a cat", "käse"]
    assert class_names("m.keras", 2) == ["class_0", "class_1"]
    assert class_names("demo", 8)[:2] == ["circle", "square"]
    with pytest.raises(ModelError, match="names 2 classes, but the model has 3"):
        class_names("m.keras", 3, path)
    with pytest.raises(ModelError, match="can't read the class names"):
        class_names("m.keras", 3, tmp_path / "gone")


def test_imagenet_without_a_network_says_where_to_put_the_files(monkeypatch):
    def fail(*args, **kwargs):
        raise Exception("no network")  # as Keras does

    monkeypatch.setattr(keras.applications, "ResNet50", fail)
    monkeypatch.setattr(keras.applications.imagenet_utils, "decode_predictions", fail)
    advice = r"no network.*put Keras' files resnet50_.*\.h5 and imagenet_class_index\.json into .*or pass your own"
    with pytest.raises(ModelError, match=advice):
        load("imagenet")
    with pytest.raises(ModelError, match=advice):
        class_names("imagenet", 1000)


def test_what_names_no_source_is_told_what_would(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = "no model at 'dem': expected demo, imagenet, the path of a .keras file or a folder with saved_model.pb"
    with pytest.raises(ModelError) as caught:
        find("dem")
    assert str(caught.value) == expected
    # a file that is not there is so by its own name, and that of the folder
    assert find("gone.keras").location == str(tmp_path / "gone.keras")
    assert find("gs://bucket/gone.keras").location == "gs://bucket/gone.keras"


class Link(StoredSource):
    """A made-up kind: a file that holds the path of a model."""

    form = "the path of a .link file"

    @classmethod
    def recognizes(cls, location):
        return location.endswith(".link")

    def load(self, preprocess, cam):
        with open(self.location) as file:
            return find(file.read()).load(preprocess, cam)


def test_a_new_kind_of_source_is_a_line_of_the_registry(save, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", [*SOURCES, Link])
    (tmp_path / "my.link").write_text(save(tiny_model()))
    assert load(tmp_path / "my.link").name == "tiny"
    staged = {}
    assert find(str(tmp_path / "my.link")).stage("gs://out", staged.__setitem__) == "gs://out/my.link"
    assert staged == {str(tmp_path / "my.link"): "gs://out/my.link"}
    with pytest.raises(ModelError, match=r"saved_model\.pb or the path of a \.link file$"):
        find("dem")
