"""What every group of settings is: a frozen, checked and documented value, declared beside the code that uses it."""

import pydantic


class Settings(pydantic.BaseModel):
    """A group of settings; the text below each of its fields documents it. An unknown key is an error."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
