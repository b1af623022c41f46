"""Changes of a text by position, and what is left as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Put *text* in the place of what stands from *start* to *end*."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Left:
    """What is not renamed though there is a counterpart, and why."""

    line: int
    column: int
    what: str
    why: str


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return *text* with edits that do not overlap."""
    parts, at = [], 0
    for edit in sorted(edits):
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, text[at:]])
