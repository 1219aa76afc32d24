import pathlib
import subprocess
import sys

import pytest

from pipeline import __version__, cli
from pipeline.inspect import command as inspect
from tests.factories import write_samples

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def fails(capsys, *argv, code=2):
    """Runs a command that must fail with one line; returns the line."""
    assert cli.main([str(word) for word in argv]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("cambeam: ")
    return lines[0]


@pytest.mark.parametrize(
    "argv", [["--help"], ["run", "--help"], ["demo", "--help"], ["inspect", "--help"], ["--version"]]
)
def test_help_and_version_exit_with_0(argv, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(argv)
    assert exit_info.value.code == 0
    assert ("usage: cambeam" in capsys.readouterr().out) == (argv != ["--version"])


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"cambeam {__version__}\n"


def test_help_imports_neither_beam_nor_tensorflow():
    code = (
        "import sys, pipeline.cli\n"
        "try: pipeline.cli.main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'apache_beam', 'tensorflow', 'keras', 'numpy', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stderr == "[]\n"


def test_module_and_script_are_the_same():
    command = [sys.executable, "-m", "pipeline", "--version"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == f"cambeam {__version__}\n"


@pytest.mark.parametrize("argv", [[], ["label"], ["demo", "--ouput=x"], ["inspect"], ["run", "--config"]])
def test_bad_usage_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as exit_info:
        cli.main(argv)
    assert exit_info.value.code == 2
    assert "cambeam" in capsys.readouterr().err


def test_missing_input_and_output(capsys, tmp_path):
    assert "no output: pass --output" in fails(capsys, "run", "--input", "a.tar")
    assert "no input: pass --input" in fails(capsys, "run", "--output", tmp_path / "out")


def test_bad_config_and_settings(capsys, tmp_path):
    assert "can't read the config" in fails(capsys, "run", "--config", tmp_path / "no.yaml")
    assert "did you mean 'cam.top_k'?" in fails(capsys, "run", "--set", "cam.topk=1")


def test_unknown_options(capsys, tmp_path):
    words = ["run", "--input", write_samples(tmp_path / "a.tar", 1), "--output", tmp_path / "out"]
    assert "knows the option --overwite" in fails(capsys, *words, "--overwite")
    # options are not abbreviated: --out is not --output
    assert "knows the option --mod=demo" in fails(capsys, *words, "--mod=demo")
    assert not (tmp_path / "out").exists()


def test_input_that_matches_nothing(capsys, tmp_path):
    line = fails(capsys, "run", "--input", tmp_path / "*.tar", "--output", tmp_path / "out")
    assert "no file matches the input" in line


def test_an_output_that_can_not_be_used(capsys, tmp_path):
    (tmp_path / "file").write_text("x")
    path = write_samples(tmp_path / "a.tar", 1)
    assert "is a file, expected a folder" in fails(capsys, "run", "--input", path, "--output", tmp_path / "file")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("no-such-model", "no model at "),
        ("gone.keras", "no model file at "),
        ("broken.keras", "can't be loaded as a Keras model"),
    ],
)
def test_models_that_can_not_be_used(capsys, tmp_path, monkeypatch, model, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.keras").write_bytes(b"not a model")
    words = ["run", "--input", write_samples(tmp_path / "a.tar", 1), "--output", tmp_path / "out"]
    assert expected in fails(capsys, *words, "--model", model)
    assert not (tmp_path / "out").exists()


def test_verbose_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="no output"):
        cli.main(["run", "--verbose", "--input", "a.tar"])


def test_inspect_of_what_is_no_output(capsys, tmp_path):
    assert "is not the output of a run" in fails(capsys, "inspect", "--predictions", tmp_path)


def test_inspect_describes_a_model(capsys, monkeypatch):
    monkeypatch.setattr(inspect, "TRIAL_SECONDS", 0.05)
    assert cli.main(["inspect", "--model", "demo", "--set", "model.precision=float32"]) == 0
    output = capsys.readouterr().out
    for words in (
        "predictions <- avg_pool",
        "8: circle, square",
        "224x224, preprocessing caffe",
        "images/s, the model alone",
    ):
        assert words in output
