"""Credentials in URIs: a URI with some is refused where a user gives it, and they are struck out where it is shown."""

import re

STRUCK_OUT = "***"
_USER = re.compile(
    r"://(?:[^/\s:@]+:(?!\d*(?:[/?#\s]|$))\S*@|[^/\s@]+@)"
)  # a password may hold a slash, a port may not
_PARAMETER = re.compile(
    r"([?&;#][^=&;#\s]{0,60}(?:auth|credential|key|passw|secret|sig|token)[^=&;#\s]{0,60}=)[^&;#\s'\"]+", re.IGNORECASE
)


def redact(text: str) -> str:
    """Returns a text with the credentials of the URIs in it struck out: `user:password@`, signatures, tokens, keys."""
    if "://" not in text:
        return text
    return _PARAMETER.sub(rf"\1{STRUCK_OUT}", _USER.sub(f"://{STRUCK_OUT}@", text))


def has_credentials(uri: str) -> bool:
    """Tells whether a URI carries credentials."""
    return redact(uri) != uri
