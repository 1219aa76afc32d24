"""How processes find cambeam's own packages where the user's folder has a `pipeline/` or a `transforms.py` too."""

import importlib.machinery
import os
import pathlib
import site
from collections.abc import Iterator
from contextlib import contextmanager

ROOT = str(pathlib.Path(__file__).parents[1])  # the folder of both packages
PACKAGES = ("pipeline", "transforms")


def with_own_first(paths: list[str]) -> list[str]:
    """Returns a search path on which the first `pipeline` and the first `transforms` are cambeam's.

    Other modules are found where they were: cambeam's folder is put in front of the first that has one of these names.
    """
    first = next((place for place, path in enumerate(paths) if _has_our_names(path)), len(paths))
    found = paths[first : first + 1]
    return paths if found == [ROOT] else [*paths[:first], ROOT, *paths[first:]]


def _has_our_names(path: str) -> bool:
    return any(importlib.machinery.PathFinder.find_spec(name, [path or os.getcwd()]) for name in PACKAGES)


@contextmanager
def found_by_children() -> Iterator[None]:
    """Sees to it that Python processes which are started meanwhile import cambeam's own packages.

    `python -m` and `python -c`, by which Beam starts its workers, would look in the current folder first.
    """
    given = os.environ.get("PYTHONPATH")
    paths = given.split(os.pathsep) if given else []
    changes = {"PYTHONSAFEPATH": "1"}
    if ROOT not in _site_folders() or any(map(_has_our_names, paths)):
        changes["PYTHONPATH"] = os.pathsep.join(with_own_first(paths))
    previous = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _site_folders() -> list[str]:
    """Returns the folders of installed packages, which every Python process of this environment looks in."""
    return [*site.getsitepackages(), site.getusersitepackages()]
