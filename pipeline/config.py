"""The configuration: documented models, read from YAML, `--set` and flags, checked before anything starts."""

import difflib
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import pydantic
import yaml

from transforms.errors import UserError
from transforms.store.credentials import has_credentials, redact

BeamValue = bool | int | float | str


class ConfigError(UserError):
    """The configuration is not usable; the message is one line for the user."""


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class InputConfig(_Section):
    """What to read."""

    pattern: list[str] = []  # files, globs or folders; local, gs:// or s3://
    format: Literal["auto", "webdataset", "tfrecord", "parquet", "images"] = "auto"
    image_field: str | None = None  # where a sample keeps its image; None: as usual in its format
    label_field: str | None = None
    id_field: str | None = None  # of TFRecord and Parquet; elsewhere the id is the member's or the file's name
    images_per_shard: int = pydantic.Field(1024, ge=1)  # image files that make one virtual shard

    @pydantic.field_validator("pattern", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class ModelConfig(_Section):
    """Which classifier, and how it is run."""

    source: str = "imagenet"  # demo, imagenet, PATH.keras, SAVEDMODEL_DIR
    class_names: str | None = None  # a file with one name per line
    preprocess: Literal["auto", "caffe", "torch", "tf", "none"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_size: int | Literal["auto"] = "auto"
    resize: Literal["squash", "center_crop"] = "squash"

    @pydantic.field_validator("batch_size")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if value != "auto" and not 1 <= value <= 4096:
            raise ValueError("must be 'auto' or lie in [1, 4096]")
        return value


class CamConfig(_Section):
    """Which class maps."""

    top_k: int = pydantic.Field(1, ge=1, le=1000)  # most probable classes
    include_label: bool = False  # and the sample's own label
    method: Literal["cam", "grad-cam"] = "cam"  # grad-cam: for models without a pooled head
    weights: Literal["signed", "positive"] = "positive"  # positive: negative head weights count as 0, in the maps only
    resolution: Literal[7, 14] = 7  # 14: twice as many rows and columns as the model has, at half as much compute again
    refine: Literal["none", "affinity"] = "none"  # affinity: smooths maps over what looks alike, at 14x14
    flip: bool = False  # averages with the mirrored image's maps, at twice the compute


class BoxesConfig(_Section):
    """How maps become boxes."""

    threshold_frac: float = pydantic.Field(0.4, gt=0, lt=1)  # of the normalised map's maximum
    normalization: Literal["minmax", "max", "ivr", "pas"] = "pas"
    components: Literal["largest", "all"] = "largest"
    min_area_frac: float = pydantic.Field(0.01, ge=0, lt=1)  # of the map; smaller components make no box
    ivr_percentile: float = pydantic.Field(45.0, ge=0, lt=100)  # of the map; lower values count as 0, with "ivr"


class ThumbnailsConfig(_Section):
    """The heat-map thumbnails."""

    enabled: bool = True
    side_px: int = pydantic.Field(224, ge=16, le=2048)  # of the longer side
    quality: int = pydantic.Field(80, ge=1, le=100)
    draw_boxes: bool = True


class OutputConfig(_Section):
    """Where the rows go, and which of the bulky columns they have."""

    path: str | None = None
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = "zstd"
    cams: bool = True
    logits: bool = False
    embeddings: bool = False
    activations: bool = False


class FailuresConfig(_Section):
    """How much may go wrong."""

    max_fraction: float = pydantic.Field(0.01, ge=0, le=1)  # of images rejected, above which a run has failed


class Config(_Section):
    """All settings of a run."""

    input: InputConfig = InputConfig()
    model: ModelConfig = ModelConfig()
    cam: CamConfig = CamConfig()
    boxes: BoxesConfig = BoxesConfig()
    thumbnails: ThumbnailsConfig = ThumbnailsConfig()
    output: OutputConfig = OutputConfig()
    failures: FailuresConfig = FailuresConfig()
    beam: dict[str, BeamValue | list[BeamValue]] = {}  # Beam's own options without their dashes, e.g. runner

    @pydantic.field_validator("beam")
    @classmethod
    def _no_false(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name, value in options.items():
            if value is False:
                raise ValueError(
                    f"a Beam option is true or absent, and {name} is false: leave it out or set its opposite"
                )
        return options


def load(path: str | None = None, settings: Sequence[str] = (), flags: dict[str, Any] | None = None) -> Config:
    """Reads a configuration: flags beat settings, which beat the file, which beats the defaults.

    Args:
      path: of a YAML file.
      settings: of the form "section.key=value", the value as in YAML.
      flags: values by "section.key"; None means not given.

    Raises:
      ConfigError: a file that can't be read, an unknown key, a value of the wrong type or out of range.
    """
    values = _read(path) if path else {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting}: expected section.key=value")
        try:
            _put(values, key.strip(), yaml.safe_load(text))
        except yaml.YAMLError:
            raise ConfigError(f"--set {setting}: {text!r} is not a YAML value") from None
    for key, value in (flags or {}).items():
        if value is not None:
            _put(values, key, value)
    return parse(values)


def parse(values: dict[str, Any]) -> Config:
    """Checks nested values and returns the configuration.

    Raises:
      ConfigError: the first thing wrong with them.
    """
    try:
        config = Config.model_validate(values)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error.errors()[0])) from None
    _refuse_credentials(config)
    return config


def _refuse_credentials(config: Config) -> None:
    """Sees to it that nothing which a run writes down can hold credentials."""
    for name, section in config:
        for key, value in section.items() if isinstance(section, dict) else section:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and has_credentials(text):
                    raise ConfigError(
                        f"{name}.{key}: {redact(text)} carries credentials, which would end up in the output; "
                        "the store's client takes them from the environment, see docs/security.md"
                    )


def _read(path: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(pathlib.Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't read the config {path!r}: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"the config {path!r} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values or {}, dict):
        raise ConfigError(f"the config {path!r} must be a mapping of sections, got {type(values).__name__}")
    return values or {}


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{key}: {section!r} is not a section")
    values[name] = value


def _explain(problem: Any) -> str:
    """Returns one line for a pydantic error: the key, the value, what was expected."""
    if problem["type"] == "extra_forbidden":
        key = ".".join(map(str, problem["loc"]))
        near = difflib.get_close_matches(key, _known_keys(), n=1, cutoff=0.4)
        return f"unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else "")
    location = ".".join(str(part) for part in problem["loc"][:2])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{location}: {message[0].lower()}{message[1:]}, got {problem['input']!r}"


def _known_keys() -> list[str]:
    """Returns every key as "section" or "section.key"."""
    sections = dict(Config())
    return [*sections, *(f"{name}.{key}" for name, section in sections.items() for key, _ in section)]
