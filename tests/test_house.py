"""The structure that CONTRIBUTING.md promises: imports run downwards only, and modules and rooms stay small."""

import ast
import graphlib
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# from the ground up: a room imports from those before it and from itself
ROOMS = [
    *("transforms.errors", "transforms.settings", "transforms.records", "transforms.store", "transforms.worker"),
    *("transforms.output", "transforms.graph", "transforms.cam", "transforms.model", "transforms.predict"),
    *("transforms.locate", "transforms.draw", "transforms.read"),
    *("pipeline", "pipeline.exit_code", "pipeline.console", "pipeline.import_path", "pipeline.logs", "pipeline.config"),
    *("pipeline.rows", "pipeline.run", "pipeline.evaluate", "pipeline.report", "pipeline.export", "pipeline.inspect"),
    *("pipeline.demo", "pipeline.cli", "pipeline.__main__", "cambeam_command"),
    *("cambeam.own_packages", "cambeam.labels", "cambeam.run", "cambeam"),
]
MAX_LINES, MAX_MODULES = 250, 16
PACKAGES = ("transforms", "pipeline", "cambeam")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in [*(path for room in PACKAGES for path in ROOT.glob(f"{room}/**/*.py")), ROOT / "cambeam_command.py"]
}


def imports_of(path: pathlib.Path) -> Iterator[str]:
    """Yields the modules of the project that a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            modules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            yield from modules
            if len(modules) < len(node.names):
                yield node.module


IMPORTS = {name: set(imports_of(path)) - {name} for name, path in MODULES.items()}


def room_of(module: str) -> int:
    """Returns the place of a module's room among ROOMS."""
    rooms = [room for room in ROOMS if module == room or (module.startswith(f"{room}.") and "." in room)]
    return ROOMS.index(max(rooms, key=len)) if rooms else -1


def test_every_module_is_in_a_room():
    assert [name for name in MODULES if room_of(name) < 0 and name != "transforms"] == []


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"transforms"}))
def test_imports_run_downwards(module):
    upwards = [name for name in IMPORTS[module] if room_of(name) > room_of(module)]
    assert not upwards, f"{module} imports {', '.join(upwards)} from a room above its own"


def test_no_modules_import_each_other():
    tuple(graphlib.TopologicalSorter(IMPORTS).static_order())  # raises CycleError


def test_modules_and_rooms_are_small():
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > MAX_LINES}
    assert not long
    folders = [path.parent for path in MODULES.values() if path.name != "__init__.py"]
    assert not [str(folder) for folder in set(folders) if folders.count(folder) > MAX_MODULES]
