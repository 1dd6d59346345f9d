"""Text of foreign objects, which can always be had, encoded, stored and logged.

A handler may raise an exception whose ``__str__`` raises, and put text into it that no encoding has, such as one half of a surrogate pair.
"""

from __future__ import annotations

__all__ = ["encodable", "text_of"]


def encodable(text: str) -> str:
    """Return ``text`` with escapes for what UTF-8 cannot encode."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(value: object) -> str:
    """Return ``str(value)``, encodable; a sentence in its place when it raises."""
    try:
        text = str(value)
    except BaseException as error:  # noqa: BLE001 - a foreign object may raise anything when it is looked at
        return f"(its text cannot be had: {type(error).__name__})"
    return encodable(text)
