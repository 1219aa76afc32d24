"""What every group of settings is: a frozen, checked and documented value, declared beside the code that uses it."""

import pydantic


class Added:
    """Marks a key that version 0.1.0 did not have, as in `flip: Annotated[bool, Added()] = False`.

    At its default, rows are what they were without it, so that outputs of versions without the key are gone on with.
    """


class Settings(pydantic.BaseModel):
    """A group of settings; the text below each of its fields documents it. An unknown key is an error."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def neutral(self) -> set[str]:
        """Returns the added keys that are at their defaults."""
        return {
            key
            for key, field in type(self).model_fields.items()
            if any(isinstance(mark, Added) for mark in field.metadata) and getattr(self, key) == field.default
        }
