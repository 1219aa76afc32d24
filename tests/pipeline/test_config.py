import pathlib

import pytest
import yaml

from pipeline import config
from pipeline.config import Config, ConfigError, load, parse
from pipeline.demo import command as demo

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return write


def problem(*args, **kwargs):
    with pytest.raises(ConfigError) as raised:
        load(*args, **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_defaults_are_those_of_the_documentation():
    settings = load()
    assert settings == Config()
    assert (settings.model.source, settings.cam.top_k, settings.boxes.threshold_frac) == ("imagenet", 1, 0.4)


def test_flags_beat_settings_which_beat_the_file_which_beats_the_defaults(file):
    path = file("cam: {top_k: 2}\nmodel: {source: a.keras}\noutput: {path: from-file}\n")
    settings = load(path, ["cam.top_k=3", "output.path=from-set"], {"output.path": "from-flag", "model.source": None})
    assert settings.output.path == "from-flag"
    assert settings.cam.top_k == 3
    assert settings.model.source == "a.keras"  # a flag that is not given changes nothing
    assert settings.boxes.min_area_frac == 0.01


def test_settings_are_yaml():
    settings = load(None, ["input.pattern=[a, b]", "model.class_names=null", "thumbnails.enabled=false"])
    assert settings.input.pattern == ["a", "b"]
    assert settings.model.class_names is None
    assert settings.thumbnails.enabled is False
    assert load(None, ["input.pattern=a"]).input.pattern == ["a"]
    assert load(None, ["model.source=a=b"]).model.source == "a=b"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("cam.topk=5", "unknown key 'cam.topk', did you mean 'cam.top_k'?"),
        ("thumbnail.enabled=true", "unknown key 'thumbnail', did you mean 'thumbnails'?"),
        ("boxes.treshold=0.3", "unknown key 'boxes.treshold', did you mean 'boxes.threshold_frac'?"),
        ("zzz=1", "unknown key 'zzz'"),
        ("cam.top_k=many", "cam.top_k: .*integer.*, got 'many'"),
        ("cam.top_k=0", "cam.top_k: .*greater than or equal to 1, got 0"),
        ("cam.top_k=1.5", "cam.top_k: .*integer.*, got 1.5"),
        ("boxes.threshold_frac=1", "boxes.threshold_frac: .*less than 1, got 1"),
        ("boxes.threshold_frac=.nan", "boxes.threshold_frac: .*got nan"),
        ("boxes.components=some", "boxes.components: .*'largest' or 'all', got 'some'"),
        ("model.batch_size=0", "model.batch_size: must be 'auto' or lie in .1, 4096., got 0"),
        ("model.batch_size=big", "model.batch_size: .*got 'big'"),
        ("failures.max_fraction=-0.1", "failures.max_fraction: .*got -0.1"),
        ("thumbnails.quality=101", "thumbnails.quality: .*got 101"),
        ("input.pattern=5", "input.pattern: .*list.*, got 5"),
        ("cam=3", "cam: .*got 3"),
        ("cam.top_k.more=3", "cam.top_k: .*got {'more': 3}"),
        ("cam.top_k", "--set cam.top_k: expected section.key=value"),
        ("cam.top_k=[", r"--set cam.top_k=\[: '\[' is not a YAML value"),
    ],
)
def test_bad_values_are_one_line_that_says_what_was_expected(setting, expected):
    import re

    assert re.search(expected, problem(None, [setting]))


def test_a_setting_below_a_value_of_the_file_is_refused(file):
    assert problem(file("cam: 3"), ["cam.top_k=2"]) == "cam.top_k: 'cam' is not a section"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cam: [", "is not YAML"),
        ("- a", "must be a mapping of sections, got list"),
        ("just words", "must be a mapping of sections, got str"),
        ("cam: {top_kk: 1}", "did you mean 'cam.top_k'?"),
        ("cam:\n", "cam: "),
    ],
)
def test_bad_files(file, text, expected):
    assert expected in problem(file(text))


def test_an_empty_file_is_all_defaults(file):
    assert load(file("")) == Config()


def test_a_file_that_is_not_there(tmp_path):
    assert "can't read the config" in problem(str(tmp_path / "no.yaml"))
    assert "can't read the config" in problem(str(tmp_path))


def test_a_configuration_can_not_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().cam.top_k = 3


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load_and_open_with_their_purpose(path):
    load(str(path))
    header = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    for topic in ("What it is for:", "Command:", "Cost:", "Expected:"):
        assert any(line.startswith(f"# {topic}") for line in header), f"{path.name} does not say {topic}"


def test_the_demo_config_is_what_the_demo_runs():
    path = next(path for path in CONFIGS if path.name == "demo.yaml")
    assert yaml.safe_load(path.read_text()) == demo.SETTINGS
    assert load(str(path)) == parse(demo.SETTINGS)


def test_every_key_is_known_to_the_suggestions():
    assert "boxes.threshold_frac" in config._known_keys()


def test_beam_options_are_values_or_lists_and_never_false():
    options = {"runner": "DataflowRunner", "num_workers": 4, "experiments": ["a"], "no_use_public_ips": True}
    assert parse({"beam": options}).beam == options
    with pytest.raises(ConfigError, match="use_public_ips is false: leave it out or set its opposite"):
        parse({"beam": {"use_public_ips": False}})
    with pytest.raises(ConfigError, match="carries credentials"):
        parse({"beam": {"job_endpoint": "http://me:secret@host:8099"}})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("failures.max_fraction=true", "failures.max_fraction: must not be a boolean, got True"),
        ("cam.top_k=yes", "cam.top_k: must not be a boolean, got True"),
        ("model.batch_size=on", "model.batch_size: must not be a boolean, got True"),
        ("output.cams=1", "output.cams: must be true or false, got 1"),
        ("output.cams='yes'", "output.cams: must be true or false, got 'yes'"),
    ],
)
def test_numbers_are_no_booleans(setting, message):
    assert problem(settings=[setting]) == message


def test_a_key_that_comes_twice_is_refused(file):
    assert "'cam' comes twice" in problem(file("cam: {top_k: 2}\nboxes: {}\ncam: {flip: true}\n"))
    assert "'top_k' comes twice" in problem(file("cam: {top_k: 2, top_k: 3}\n"))


def test_a_config_without_end_is_refused(file):
    assert "is nested too deeply" in problem(file("a: " + "[" * 3000))
    assert "is not a YAML value" in problem(settings=["cam.top_k=" + "[" * 3000])
