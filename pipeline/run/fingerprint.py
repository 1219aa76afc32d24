"""The recipe of the rows: the settings and the model that make them what they are, and its fingerprint."""

import hashlib
from typing import Any

from pipeline.config import Config
from transforms.output.commit import fingerprint
from transforms.output.schema import SCHEMA_VERSION
from transforms.settings import Settings

__all__ = ["differences", "fingerprint", "recipe_of"]
# each changes how rows are made or where, and not what is in them
_NOT_IN_ROWS: dict[str, set[str] | bool] = {
    "input": {"pattern", "format", "images_per_shard"},
    "model": {"source", "class_names", "precision", "batch_size"},
    "output": {"path"},
    "failures": {"max_fraction"},
    "beam": True,
}


def recipe_of(config: Config, model_fingerprint: str, class_names: list[str]) -> dict[str, Any]:
    """Returns the recipe: everything that the content of a row depends on, but for the image."""
    names = hashlib.sha256("\n".join(class_names).encode()).hexdigest()[:16]
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model_fingerprint,
        "class_names": names,
        "config": config.model_dump(exclude=_not_in_rows(config)),
    }


def _not_in_rows(config: Config) -> dict[str, set[str] | bool]:
    """Returns what of each section the fingerprint leaves out; with it, keys that earlier versions did not have."""
    neutral = {name: section.neutral() for name, section in config if isinstance(section, Settings)}
    return neutral | {
        name: left_out if isinstance(left_out, bool) else left_out | neutral[name]
        for name, left_out in _NOT_IN_ROWS.items()
    }


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Lists what differs between two recipes, as "key: old -> new"."""
    found: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix.removeprefix('config.')}{key}: {before} -> {after}")
    return found
