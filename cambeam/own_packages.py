"""Whether Python finds cambeam's own packages, or others of the same names."""

import importlib.util
import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NAMES = ("pipeline", "transforms")


def refuse_others() -> None:
    """Looks where Python finds `pipeline` and `transforms`; imports neither.

    Raises:
      ImportError: one of them is somebody else's; the message names the file.
    """
    for name in _NAMES:
        found = _place_of(name)
        if found and not _is_own(found, name):
            raise ImportError(
                f"cambeam can't be imported beside {found}: Python takes that for cambeam's own package {name!r}; "
                "rename it, or start Python in another folder"
            )


def _place_of(name: str) -> str | None:
    """Returns the file or the folder that `import name` gives; None where there is no such module."""
    spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or []), None)


def _is_own(found: str, name: str) -> bool:
    own = os.path.join(_ROOT, name, "__init__.py")
    return os.path.realpath(found) == os.path.realpath(own)
