"""A run with all that is settled before it starts: which model, which names, which fingerprint."""

import datetime
import uuid
from dataclasses import dataclass
from typing import Any

from pipeline import __version__
from pipeline.config import Config
from pipeline.run.fingerprint import fingerprint, recipe_of
from transforms.model import sources
from transforms.output.layout import Layout
from transforms.predict.engine_settings import EngineSettings
from transforms.predict.engines import shared_engine


@dataclass(frozen=True)
class Job:
    """A run, with all that is settled before it starts.

    Attributes:
      layout: of the output.
      run_id: names the run's temporary files.
      recipe: what the rows depend on, see `fingerprint.recipe_of`.
      engine: from which each worker builds its engine.
      side_px: of the model's input.
      class_names: of all the model's classes.
      about: how the rows are made, for the file metadata and _run.json.
    """

    config: Config
    layout: Layout
    run_id: str
    recipe: dict[str, Any]
    engine: EngineSettings
    side_px: int
    class_names: list[str]
    about: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Of the recipe."""
        return fingerprint(self.recipe)

    @property
    def plan_path(self) -> str:
        """The file with the shards of this run."""
        return self.layout.temporary(self.run_id, "plan.jsonl")


def settle(config: Config, layout: Layout) -> Job:
    """Loads the model, which tells whether it can be used at all, and settles what depends on it.

    Raises:
      UserError: the model can't be used, or its class names can't.
    """
    chosen = EngineSettings.resolve(config.model, config.cam, config.output)
    engine = shared_engine(chosen)
    class_names = sources.class_names(chosen.model, engine.num_classes)
    recipe = recipe_of(config, sources.find(chosen.model.source).fingerprint(), class_names)
    run_id = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    about = {
        "cambeam_version": __version__,
        "fingerprint": fingerprint(recipe),
        "model": {
            "name": engine.description.name,
            "fingerprint": recipe["model"],
            "head": engine.description.head,
        },
        "num_classes": engine.num_classes,
        "config": config.model_dump(exclude={"output": {"path"}, "input": {"pattern"}, "beam": True}),
    }
    return Job(config, layout, run_id, recipe, chosen, engine.side_px, class_names, about)
