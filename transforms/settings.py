"""What every group of settings is: a frozen, checked and documented value, declared beside the code that uses it."""

from typing import Any

import pydantic


class Added:
    """Marks a key that version 0.1.0 did not have, as in `flip: Annotated[bool, Added()] = False`.

    At its default, rows are what they were without it, so that outputs of versions without the key are gone on with.
    """


class Settings(pydantic.BaseModel):
    """A group of settings; the text below each of its fields documents it. An unknown key is an error."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_number_is_a_boolean(cls, value: Any, about: pydantic.ValidationInfo) -> Any:
        """Refuses what YAML takes for a boolean where a number is meant, `top_k: yes`, and the reverse."""
        wants_boolean = cls.model_fields[about.field_name or ""].annotation is bool
        if wants_boolean != isinstance(value, bool) and (wants_boolean or isinstance(value, bool)):
            raise ValueError("must be true or false" if wants_boolean else "must not be a boolean")
        return value

    def neutral(self) -> set[str]:
        """Returns the added keys that are at their defaults."""
        return {
            key
            for key, field in type(self).model_fields.items()
            if any(isinstance(mark, Added) for mark in field.metadata) and getattr(self, key) == field.default
        }
