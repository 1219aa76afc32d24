"""What is installed: the sdist that Dataflow's workers get, and the wheel, each in an environment of its own."""

import email
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.stager import Stager

from pipeline import __version__, cli
from tests.engines.processes import free_ports, listening, running_engine
from tests.factories import write_scenes

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("cambeam", "pipeline", "transforms")
SOURCES = (*PACKAGES, "cambeam_command.py", "configs", "docs")
ABOUT = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    """A copy of what is packaged, so that building leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in (*SOURCES, *ABOUT):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory) -> pathlib.Path:
    """What Beam makes of --setup_file."""
    folder = tmp_path_factory.mktemp("sdist")
    options = PipelineOptions([f"--setup_file={source}/setup.py", "--sdk_location=container"])
    Stager.create_job_resources(options, str(folder), log_submission_env_dependencies=False)
    (path,) = folder.glob("cambeam-*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sdist)
    (path,) = folder.glob("*.whl")
    return path


def pip(*arguments) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def environment(folder: pathlib.Path, package: pathlib.Path) -> pathlib.Path:
    """Makes an environment with a package in it that sees the dependencies and not the checkout; returns its bin."""
    venv.create(folder, symlinks=True)
    paths = {"base": folder, "platbase": folder}
    site = pathlib.Path(sysconfig.get_path("purelib", vars=paths))
    # modules only: what lies there as an editable installation of the checkout is not looked at
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    programs = pathlib.Path(sysconfig.get_path("scripts", vars=paths))
    how = ["--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed"]
    pip("--python", programs / "python", "install", *how, package)
    return programs


def variables(programs: pathlib.Path) -> dict[str, str]:
    return {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}


def output_of(programs: pathlib.Path, cwd: pathlib.Path, name: str, *arguments) -> str:
    """Runs a program of an environment; returns what it prints."""
    command = [programs / name, *arguments]
    result = subprocess.run(command, cwd=cwd, env=os.environ | variables(programs), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_sdist_has_all_that_is_needed_to_build_and_to_read_about_it(sdist):
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    kept = [path for name in SOURCES for path in (ROOT / name).rglob("*.*") if path.suffix in (".py", ".yaml", ".md")]
    assert {*ABOUT, *(path.relative_to(ROOT).as_posix() for path in kept)} <= names
    assert sdist.stat().st_size < 2_000_000  # each worker of Dataflow downloads it


def test_the_wheel_has_all_modules_and_their_data_and_nothing_else(wheel):
    assert wheel.name == f"cambeam-{__version__}-py3-none-any.whl"
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    packaged = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert names == packaged | {"cambeam_command.py"}
    assert {f"{name}/py.typed" for name in PACKAGES} <= names


def test_what_the_index_shows_of_it(wheel):
    metadata = email.message_from_bytes(zipfile.ZipFile(wheel).read(f"cambeam-{__version__}.dist-info/METADATA"))
    (repository,) = {url.partition(", ")[2] for url in metadata.get_all("Project-URL") if url.startswith("Source")}
    links = re.findall(r"(!?)\[[^][]*\]\(([^)\s]+)\)", metadata.get_payload())
    assert len(links) > 20
    for picture, link in links:
        assert link.startswith("https://")
        kind = f"{repository}/{'raw' if picture else 'blob'}/v{__version__}/"
        if link.startswith(repository):
            assert (ROOT / link.removeprefix(kind)).exists(), link
    versions = {line.rpartition(" ")[2] for line in metadata.get_all("Classifier") if ":: 3." in line}
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in versions
    assert metadata["License-Expression"] == "Apache-2.0" or metadata["License"] == "Apache-2.0"


def test_the_wheel_is_used_in_an_environment_of_its_own(wheel, tmp_path):
    programs = environment(tmp_path / "environment", wheel)
    output_of(programs, tmp_path, "cambeam", "demo", "--output", "demo")
    code = "import cambeam, pipeline; print(cambeam.__file__, len(cambeam.open('demo/labels')))"
    found, _, count = output_of(programs, tmp_path, "python", "-c", code).rpartition(" ")
    assert pathlib.Path(found).is_relative_to(tmp_path)
    assert int(count) == 64
    assert (tmp_path / "demo" / "report" / "index.html").exists()


def test_workers_need_nothing_but_the_sdist(sdist, tmp_path, monkeypatch, capsys):
    programs = environment(tmp_path / "environment", sdist)
    monkeypatch.chdir(tmp_path)  # where the workers start; in the checkout they would find its modules
    places = output_of(programs, tmp_path, "python", "-c", "import pipeline, transforms as t; print(t.__file__)")
    assert pathlib.Path(places.strip()).is_relative_to(tmp_path / "environment")
    with running_engine("installed-workers") as engine:
        service, pool = free_ports(2)
        servers = {
            "worker.worker_pool_main": ["--service_port", pool],
            "portability.local_job_service_main": ["--port", service, "--staging_dir", engine.folder / "staged"],
        }
        for module, flags in servers.items():
            command = [programs / "python", "-m", f"apache_beam.runners.{module}", *flags]
            engine.start(module, command, variables(programs))
        engine.wait(lambda: listening(service) and listening(pool), "workers")
        inputs = [word for seed in (0, 1) for word in ("--input", write_scenes(tmp_path / f"{seed}.tar", [seed]))]
        options = ["--runner=PortableRunner", f"--job_endpoint=localhost:{service}"]
        options += ["--environment_type=EXTERNAL", f"--environment_config=localhost:{pool}"]
        code = cli.main(["run", *inputs, "--output", str(tmp_path / "out"), "--model", "demo", *options])
    assert (code, (tmp_path / "out" / "_SUCCESS").exists()) == (0, True)
    assert "2 images labelled" in capsys.readouterr().err
