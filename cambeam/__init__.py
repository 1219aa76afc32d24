"""cambeam from Python: labels images with what a classifier sees and where it sees it, and reads what it has written.

Example:
  import cambeam

  labels = cambeam.label("photos", model="demo", output="labels", settings={"cam.top_k": 3})
  labels.totals.images, labels.totals.rejected
  labels.pandas(["image_id", "class_name", "probability", "box"])
  labels.duckdb().filter("probability > 0.9").order("probability")

It prints nothing unless it is asked to. What goes wrong is an exception: `UserError` for what can't be used, `RunError`
for a run that failed, `TooManyRejectedError` for one that rejected more images than it may. pandas and duckdb do not
come with cambeam.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cambeam.own_packages import refuse_others

refuse_others()  # before anything is imported from a package that may be somebody else's

from cambeam.labels import Labels, Totals
from cambeam.run import TooManyRejectedError, label, open
from pipeline import __version__
from transforms.errors import RunError, UserError

if TYPE_CHECKING:
    from pipeline.config import Config
    from transforms.cam.settings import CamSettings
    from transforms.draw.settings import ThumbnailSettings
    from transforms.locate.settings import BoxSettings
    from transforms.model.settings import ModelSettings
    from transforms.output.settings import FailureSettings, OutputSettings
    from transforms.read.settings import InputSettings

__all__ = [
    "BoxSettings",
    "CamSettings",
    "Config",
    "FailureSettings",
    "InputSettings",
    "Labels",
    "ModelSettings",
    "OutputSettings",
    "RunError",
    "ThumbnailSettings",
    "TooManyRejectedError",
    "Totals",
    "UserError",
    "__version__",
    "label",
    "open",
]

_IMPORTED_WHEN_USED = {  # the readers of all formats, and with them Beam, come with the configuration
    "BoxSettings": "transforms.locate.settings",
    "CamSettings": "transforms.cam.settings",
    "Config": "pipeline.config",
    "FailureSettings": "transforms.output.settings",
    "InputSettings": "transforms.read.settings",
    "ModelSettings": "transforms.model.settings",
    "OutputSettings": "transforms.output.settings",
    "ThumbnailSettings": "transforms.draw.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _IMPORTED_WHEN_USED:
        raise AttributeError(f"module 'cambeam' has no attribute {name!r}")
    return getattr(importlib.import_module(_IMPORTED_WHEN_USED[name]), name)


def __dir__() -> list[str]:
    return __all__
