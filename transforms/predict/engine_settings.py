"""What an engine is built from."""

import os

from transforms.cam.settings import CamSettings
from transforms.model import load as models
from transforms.model.settings import ModelSettings
from transforms.output.settings import OutputSettings
from transforms.settings import Settings
from transforms.store import files as store
from transforms.worker.threads import num_cores


class EngineSettings(Settings):
    """What an engine is built from: the model, its maps, and what else is computed of an image."""

    model: ModelSettings = ModelSettings()
    cam: CamSettings = CamSettings()
    batch_size: int = 32
    """Images that pass through the pipeline together, and that a GPU gets at a time."""
    logits: bool = False
    """Whether the logits of all classes are returned."""
    embeddings: bool = False
    """Whether the pooled activations are returned."""
    activations: bool = False
    """Whether the activations themselves are returned."""

    @classmethod
    def resolve(cls, model: ModelSettings, cam: CamSettings, output: OutputSettings) -> "EngineSettings":
        """Returns what a run asks of its engine: a local path becomes absolute, and the batch size a number."""
        if model.source not in models.BUILT_IN and store.is_local(model.source):
            model = model.model_copy(update={"source": os.path.abspath(model.source)})
        # each core has 16 images, of which it makes a piece (see `pieces.in_parallel`)
        batch_size = max(32, min(16 * num_cores(), 256)) if model.batch_size == "auto" else model.batch_size
        return cls(
            model=model,
            cam=cam,
            batch_size=batch_size,
            logits=output.logits,
            embeddings=output.embeddings,
            activations=output.activations,
        )
