"""The configuration: every room's settings together, read from YAML, `--set` and flags, checked before a start."""

import difflib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
import yaml

from transforms.cam.settings import CamSettings
from transforms.draw.settings import ThumbnailSettings
from transforms.errors import UserError
from transforms.locate.settings import BoxSettings
from transforms.model.settings import ModelSettings
from transforms.output.settings import FailureSettings, OutputSettings
from transforms.read.settings import InputSettings
from transforms.settings import Settings
from transforms.store.credentials import has_credentials, redact

BeamValue = bool | int | float | str


class ConfigError(UserError):
    """The configuration is not usable; the message is one line for the user."""


class Config(Settings):
    """All settings of a run."""

    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    cam: CamSettings = CamSettings()
    boxes: BoxSettings = BoxSettings()
    thumbnails: ThumbnailSettings = ThumbnailSettings()
    output: OutputSettings = OutputSettings()
    failures: FailureSettings = FailureSettings()
    beam: dict[str, BeamValue | list[BeamValue]] = {}
    """Beam's own options without their dashes, e.g. runner."""

    @pydantic.field_validator("beam")
    @classmethod
    def _no_false(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name, value in options.items():
            if value is False:
                raise ValueError(
                    f"a Beam option is true or absent, and {name} is false: leave it out or set its opposite"
                )
        return options


def load(
    base: str | Config | None = None, settings: Sequence[str] = (), flags: Mapping[str, Any] | None = None
) -> Config:
    """Reads a configuration: flags beat settings, which beat the base, which beats the defaults.

    Args:
      base: the path of a YAML file, or another configuration.
      settings: of the form "section.key=value", the value as in YAML.
      flags: values by "section.key"; None means not given.

    Raises:
      ConfigError: a file that can't be read, an unknown key, a value of the wrong type or out of range.
    """
    values = base.model_dump() if isinstance(base, Config) else _read(base) if base else {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting}: expected section.key=value")
        try:
            _put(values, key.strip(), _yaml(text))
        except (yaml.YAMLError, RecursionError):
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
        values = _yaml(pathlib.Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't read the config {path!r}: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"the config {path!r} is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"the config {path!r} is nested too deeply") from None
    if not isinstance(values or {}, dict):
        raise ConfigError(f"the config {path!r} must be a mapping of sections, got {type(values).__name__}")
    return values or {}


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} comes twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _yaml(text: str) -> Any:
    """Returns the value of a YAML text.

    Raises:
      yaml.YAMLError, RecursionError: it is none, has a key twice, or is nested too deeply.
    """
    return yaml.load(text, _Loader)  # a safe one


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
