"""What an engine is built from."""

from transforms.cam.settings import CamSettings
from transforms.model.settings import ModelSettings
from transforms.model.sources import find
from transforms.output.settings import OutputSettings
from transforms.settings import Settings
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
        """Returns what a run asks of its engine: a local path becomes absolute, and the batch size a number.

        Raises:
          ModelError: there is no such model.
        """
        # each core has 16 images, of which it makes a piece (see `pieces.in_parallel`)
        batch_size = max(32, min(16 * num_cores(), 256)) if model.batch_size == "auto" else model.batch_size
        return cls(
            model=model.model_copy(update={"source": find(model.source).location}),
            cam=cam,
            batch_size=batch_size,
            logits=output.logits,
            embeddings=output.embeddings,
            activations=output.activations,
        )
