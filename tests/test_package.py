import pathlib
import shutil
import subprocess
import sys
import zipfile

from pipeline import __version__

ROOT = pathlib.Path(__file__).parent.parent


def test_the_wheel_holds_the_packages_and_the_demo_model(tmp_path):
    source = tmp_path / "source"
    for name in ("pipeline", "transforms"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"cambeam-{__version__}-py3-none-any")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        f"{path.parent.name}/{path.name}" for name in ("pipeline", "transforms") for path in (ROOT / name).glob("*.py")
    }
    assert modules <= names
    assert "transforms/model/demo_resnet50.npz" in names
    assert not any(name.startswith(("tests", "scripts", "benchmarks")) for name in names)
    assert b"cambeam = pipeline.cli:console_main" in zipfile.ZipFile(wheel).read(
        f"cambeam-{__version__}.dist-info/entry_points.txt"
    )
