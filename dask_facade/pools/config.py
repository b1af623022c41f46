"""The configuration of a simulation: sections within sections, in brackets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dask_facade.pools.exceptions import BadConfig

Section = dict[str, Any]

_HEADING = re.compile(r"(\[+)\s*(.*?)\s*(\]+)\s*(?:#.*)?$")
_ENTRY = re.compile(r"""("[^"]*"|'[^']*'|[^='"]+?)\s*=\s*(.*)$""")
_NAME = re.compile(r"\$\{?(\w+)\}?")
_PART = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,#]*)\s*(,|#.*|$)""")


def read(path: str | Path, environ: Mapping[str, str], **more: str) -> Section:
    """Return what a file says, with ``$NAME`` replaced. Raises BadConfig.

    A name is looked for in the entry's own section, in those around it, in *more*, in *environ*.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}") from error
    return replaced(parse(text, str(path)), {**environ, **more})


def parse(text: str, name: str = "the configuration") -> Section:
    """Return sections and entries as dicts; a value with commas is a list. Raises BadConfig."""
    top: Section = {}
    open_sections = [top]
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if heading := _HEADING.match(words):
            begin, title, end = heading.groups()
            depth = len(begin)
            if len(end) != depth or not title or depth > len(open_sections):
                raise BadConfig(f"{name}, line {number}: {words!r} is no heading of a section here")
            del open_sections[depth:]
            section: Section = open_sections[-1].setdefault(_unquoted(title), {})
            open_sections.append(section)
        elif entry := _ENTRY.match(words):
            open_sections[-1][_unquoted(entry[1].strip())] = _value(entry[2])
        else:
            raise BadConfig(f"{name}, line {number}: {words!r} is neither a heading nor an entry")
    return top


def _value(text: str) -> str | list[str]:
    parts: list[str] = []
    at = 0
    while part := _PART.match(text, at):
        at = part.end()
        parts.append(part[1].strip())
        if part[2] != ",":
            break
    if len(parts) == 1:
        return _unquoted(parts[0])
    return [_unquoted(each) for each in parts if each]


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def replaced(section: Section, around: Mapping[str, str]) -> Section:
    """Return a section whose values name nothing any more. Raises BadConfig."""
    known = {**around, **_texts(section)}

    def value(name: str, within: tuple[str, ...]) -> str:
        source = around if name in within else known  # what names itself means an outer one
        if name not in source:
            raise BadConfig(f"{within[0]} names ${name}, which is not set")
        text = source[name]
        return text if source is around else expanded(text, (*within, name))

    def expanded(text: str, within: tuple[str, ...]) -> str:
        return _NAME.sub(lambda match: value(match[1], within), text)

    found: Section = {}
    for key, said in section.items():
        if isinstance(said, list):
            found[key] = [expanded(each, (key,)) for each in said]
        elif not isinstance(said, dict):
            found[key] = expanded(said, (key,))
    inner = {**around, **_texts(found)}
    for key, said in section.items():
        if isinstance(said, dict):
            found[key] = replaced(said, inner)
    return found


def _texts(section: Section) -> dict[str, str]:
    return {key: each for key, each in section.items() if isinstance(each, str)}


def written(section: Section) -> str:
    """Return the text that `parse` reads as *section*."""
    return "".join(f"{line}\n" for line in _lines(section, 0))


def _lines(section: Section, depth: int) -> Iterator[str]:
    for key, value in section.items():
        if not isinstance(value, dict):
            yield f"{key} = {_quoted(value)}"
    for key, value in section.items():
        if isinstance(value, dict):
            yield f"{'[' * (depth + 1)}{key}{']' * (depth + 1)}"
            yield from _lines(value, depth + 1)


def _quoted(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_quoted, value)) + ("," if len(value) < 2 else "")
    text = str(value)
    if not text or not re.search(r"""[,#"']|^\s|\s$""", text):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'
