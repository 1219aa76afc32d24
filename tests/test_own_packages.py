"""A user's folder may have a `pipeline/` and a `transforms.py` of its own: commands never import them."""

import os
import pathlib
import subprocess
import sys

import pytest

from pipeline import import_path
from tests.factories import tiny_model, write_samples

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = "import sys; sys.path.pop(0); from cambeam_command import main; main()"  # what pip makes of the entry point
PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> pathlib.Path:
    """A user's folder with images, a model, and modules that nobody but the user may import."""
    folder = tmp_path_factory.mktemp("project")
    tiny_model(classes=8).save(folder / "tiny.keras")
    for name in ("a", "b"):
        write_samples(folder / f"{name}.tar", 3)
    (folder / "pipeline").mkdir()
    for path in (folder / "pipeline" / "__init__.py", folder / "transforms.py"):
        path.write_text("raise SystemExit(f'{__file__} was imported')")
    return folder


def python(project, *arguments, path: str | None = None) -> subprocess.CompletedProcess:
    """Runs Python in the user's folder; `path` is a part of PYTHONPATH that the user has set."""
    paths = [str(ROOT)] if path is None else [path, str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "300"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=600)


def run(output, *options) -> list[str]:
    words = ["run", "--input", "*.tar", "--output", output, "--model", "tiny.keras", "--set", "model.batch_size=4"]
    return [str(word) for word in [*words, *options]]


@pytest.mark.parametrize("path", [None, f"{os.pathsep}."], ids=["plain", "the folder is in PYTHONPATH"])
def test_a_command_and_its_worker_processes_import_cambeams_own(project, tmp_path, path):
    result = python(project, "-c", SCRIPT, *run(tmp_path / "out", *PROCESSES), path=path)
    assert (result.returncode, result.stdout) == (0, "")
    assert "6 images labelled" in result.stderr


def test_the_module_pipeline_is_safe_beside_a_transforms_py(project, tmp_path):
    (tmp_path / "transforms.py").write_text("raise SystemExit('the user's own was imported')")
    result = python(tmp_path, "-m", "pipeline", "run", "--input", project / "a.tar", "--set=cam.topk=1")
    assert (result.returncode, result.stderr) == (2, "cambeam: unknown key 'cam.topk', did you mean 'cam.top_k'?\n")


@pytest.mark.parametrize(
    ("hiding", "content"),
    [("transforms.py", ""), ("pipeline.py", ""), ("pipeline/__init__.py", ""), ("transforms/__init__.py", "")],
)
def test_import_cambeam_names_what_hides_its_packages(tmp_path, hiding, content):
    path = tmp_path / hiding
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    result = python(tmp_path, "-c", "import cambeam")
    last_line = result.stderr.splitlines()[-1]
    assert result.returncode == 1
    assert last_line.startswith(f"ImportError: cambeam can't be imported beside {path}: ")
    assert "rename it, or start Python in another folder" in last_line


def test_import_cambeam_after_a_module_of_the_users(tmp_path):
    (tmp_path / "transforms.py").touch()
    result = python(tmp_path, "-c", "import sys, transforms; sys.path.pop(0); import cambeam")
    assert f"can't be imported beside {tmp_path / 'transforms.py'}" in result.stderr.splitlines()[-1]


def test_a_script_elsewhere_labels_from_a_folder_with_such_modules(project, tmp_path):
    script = tmp_path / "label.py"
    script.write_text(
        "import cambeam\n"
        f"labels = cambeam.label(['a.tar', 'b.tar'], model='tiny.keras', output='{tmp_path}/out', "
        f"beam_options={PROCESSES})\n"
        "print(labels.totals.images)\n"
    )
    result = python(project, script)
    assert (result.returncode, result.stdout, result.stderr) == (0, "6\n", "")


def test_cambeams_packages_are_put_before_others_and_nothing_else_is_moved(tmp_path):
    users, others = tmp_path / "users", tmp_path / "others"
    for folder in (users, others):
        folder.mkdir()
    (users / "transforms.py").touch()
    own = import_path.ROOT
    assert import_path.with_own_first([str(others), str(users), "/lib"]) == [str(others), own, str(users), "/lib"]
    assert import_path.with_own_first([str(others), own, str(users)]) == [str(others), own, str(users)]
    assert import_path.with_own_first([str(others)]) == [str(others), own]


def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with import_path.found_by_children():
        assert os.environ["PYTHONSAFEPATH"] == "1"
        assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == "/elsewhere"
    assert os.environ["PYTHONPATH"] == "/elsewhere"
    assert "PYTHONSAFEPATH" not in os.environ
