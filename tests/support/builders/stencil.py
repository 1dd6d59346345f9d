"""A message with holes: what is recorded once is sent again and again with other ids, numbers and times, by joining bytes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

__all__ = ["Stencil"]


@dataclass(frozen=True)
class Stencil:
    """What stays between what changes.

    Attributes:
        fixed: one more than there are holes.
        kinds: of the holes.
    """

    fixed: tuple[bytes, ...]
    kinds: tuple[str, ...]

    @classmethod
    def cut(cls, raw: bytes, changing: re.Pattern[bytes]) -> Self:
        """Of a message: a hole, of the kind that the last group is named, behind each such group."""
        fixed, kinds, last = [], [], 0
        for match in changing.finditer(raw):
            kind = str(match.lastgroup)
            fixed.append(raw[last : match.end(kind)])
            kinds.append(kind)
            last = match.end()
        return cls((*fixed, raw[last:]), tuple(kinds))

    def filled(self, values: Mapping[str, bytes]) -> bytes:
        """The message with these values in its holes."""
        parts = []
        for fixed, kind in zip(self.fixed, self.kinds, strict=False):
            parts += (fixed, values[kind])
        return b"".join((*parts, self.fixed[-1]))
