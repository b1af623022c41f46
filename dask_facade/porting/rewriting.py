"""Renames imports: exact edits by position, so that all else of a file stays as it is."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from dask_facade.porting import from_imports, plain_imports
from dask_facade.porting.counterparts import Counterpart, counterpart
from dask_facade.porting.edits import Edit, Left, apply
from dask_facade.porting.sources import Source, parse
from dask_facade.porting.strings import named_in

_QUOTED = re.compile(r"[rRuU]?('''|\"\"\"|'|\")(.*?)\1", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Renamed:
    """A module's new text, how many places of it are new, and what could not be renamed."""

    text: str
    count: int
    left: tuple[Left, ...]


def rename(source: Source) -> Renamed:
    """Rename what a module imports of Celery, as far as there is a counterpart.

    What is renamed once is no import of Celery any more: the second time nothing changes.
    """
    edits: list[Edit] = []
    left: list[Left] = []
    for each in (
        *from_imports.changes(source),
        *plain_imports.changes(source),
        *_string_changes(source),
    ):
        if isinstance(each, Edit):
            edits.append(each)
        else:
            left.append(each)
    text = apply(source.text, edits)
    if edits:
        parse(source.path, text, source.encoding)  # raises, rather than write what is no Python
    return Renamed(text, len(edits), tuple(left))


def write(source: Source, text: str) -> None:
    """Put *text* in the place of a file, at once and whole; raises OSError or UnicodeError."""
    content = text.encode(source.encoding)
    path = os.path.realpath(source.path)  # the file itself, not a link to it
    handle, name = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".port-")
    try:
        with open(handle, "wb") as file:
            file.write(content)
        shutil.copymode(path, name)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _string_changes(source: Source) -> Iterator[Edit | Left]:
    for node, value, dotted in named_in(source):
        found = counterpart(dotted)
        if found is None:
            continue
        start, end = source.span(node)
        quoted = _QUOTED.fullmatch(source.text, start, end)
        if quoted is None or quoted[2] != value:
            why = "the string is made of parts: write it anew"
            yield Left(*source.place(node), f'"{value}"', why)
        else:
            yield Edit(quoted.start(2), quoted.end(2), _in_our_words(quoted[2], dotted, found))


def _in_our_words(said: str, dotted: str, found: Counterpart) -> str:
    """Return a path that is spelt as the other was, "module.name" or "module:name"."""
    path = f"{found.module}:{found.name}" if ":" in said and found.name else found.path
    return path + dotted.removeprefix(found.celery)
