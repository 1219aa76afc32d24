"""Which of the model's classes become which of the user's own."""

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import yaml

from transforms.errors import UserError
from transforms.store import files as store

_FILE_SUFFIXES = (".yaml", ".yml", ".json")


class Classes(NamedTuple):
    """The classes of an export.

    Attributes:
      names: by the export's own index.
      taken: (model classes,) bool, those of the model's classes that are exported.
      class_id: (model classes,) int32, the export's own index of each that is taken.
    """

    names: list[str]
    taken: np.ndarray
    class_id: np.ndarray


def choose_classes(wanted: Sequence[str] | None, model_classes: list[str]) -> Classes:
    """Chooses the classes of an export.

    Args:
      wanted: classes by name or index, numbered in this order; or one YAML or JSON file, which holds a list of such, or
        a mapping from the model's classes to the user's own, numbered in the order in which they first appear. None
        takes all of the model's, as they are.
      model_classes: names by index.

    Raises:
      UserError: a class that the model does not have, or a file that is no such list or mapping.
    """
    if not wanted:
        count = len(model_classes)
        return Classes(model_classes, np.ones(count, bool), np.arange(count, dtype=np.int32))
    if len(wanted) == 1 and wanted[0].endswith(_FILE_SUFFIXES):
        pairs = _read(wanted[0], model_classes)
    else:
        pairs = [(index, model_classes[index]) for text in wanted for index in _parse(text, model_classes)]
    names = list(dict.fromkeys(name for _, name in pairs))
    taken, class_id = np.zeros(len(model_classes), bool), np.zeros(len(model_classes), np.int32)
    for index, name in pairs:
        taken[index], class_id[index] = True, names.index(name)
    return Classes(names, taken, class_id)


def _read(path: str, model_classes: list[str]) -> list[tuple[int, str]]:
    """Returns (the model's index, the user's name) of every entry of a file."""
    try:
        content = yaml.safe_load(store.read_bytes(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"can't read the classes in {path!r}: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if isinstance(content, list) and content:
        indices = [_index(entry, model_classes) for entry in content]
        return [(index, model_classes[index]) for index in indices]
    if isinstance(content, dict) and content and all(isinstance(name, str | int) for name in content.values()):
        return [(_index(entry, model_classes), str(name)) for entry, name in content.items()]
    raise UserError(f"{path} must hold a list of classes, or a mapping from the model's classes to names of your own")


def _parse(text: str, model_classes: list[str]) -> list[int]:
    """Returns the classes that one argument names: itself, or several between commas (some names have commas)."""
    if text in model_classes or "," not in text:
        return [_index(text, model_classes)]
    return [_index(part.strip(), model_classes) for part in text.split(",")]


def _index(entry: Any, model_classes: list[str]) -> int:
    if str(entry) in model_classes:
        return model_classes.index(str(entry))
    if str(entry).isdecimal() and int(entry) < len(model_classes):
        return int(entry)
    longer = [name for name in model_classes if str(entry).lower() in name.lower()]  # "tabby" for "tabby, tabby cat"
    near = longer or difflib.get_close_matches(str(entry), model_classes, n=1)
    hint = f", did you mean {near[0]!r}?" if near else f": it has {len(model_classes)}, by name or index"
    raise UserError(f"the model has no class {entry!r}{hint}")
