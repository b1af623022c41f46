"""Command lines that start Celery: in Procfiles, units, compose files, scripts and the like."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dask_facade.porting.knowledge import KNOWLEDGE
from dask_facade.porting.uses import Kind, Use

SUBCOMMANDS = frozenset(name for kind, name in KNOWLEDGE if kind is Kind.COMMAND)
_PROGRAM = re.compile(r"""(?<![\w.@:-])(?:[\w./${}-]*/)?celery(?=["']?(?:[\s,\\]|$))""")
_JOINED = re.compile(r"""\\\r?\n|(?<=["']),|["'\[\]]|\r?\n[ \t]*-[ \t]+(?=["'\w-])""")
_WITH_VALUE = frozenset(
    {"-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"}
)
_WITHOUT_WORDS = frozenset({"beat", "events", "flower", "purge", "report", "status", "worker"})
_TOLD = re.compile(r"\s*(?:#|;|//|(?:-\s*)?(?:description|echo|help|label|name|title)\b)", re.I)
_WIDTH = 60


def commands_in(text: str) -> Iterator[Use]:
    """Yield the places in a text where the program ``celery`` is started."""
    for found in _PROGRAM.finditer(text):
        start = text.rfind("\n", 0, found.start()) + 1
        if _TOLD.match(text[start : found.start()]):
            continue
        words = _words(text[found.start() : found.start() + 1000])
        subcommand = _subcommand(words[1:])
        if not subcommand:
            continue
        what = " ".join(["celery", *words[1:]])
        yield Use(
            line=text.count("\n", 0, start) + 1,
            column=found.start() - start + 1,
            what=what if len(what) <= _WIDTH else f"{what[: _WIDTH - 4]} ...",
            kind=Kind.COMMAND,
            name=subcommand,
        )


def _words(text: str) -> list[str]:
    """Return the words of the command that a text begins with.

    A list, as JSON or YAML has it, is read as a line; so are lines that a backslash joins.
    """
    line = re.split(r"\r?\n|&&|\|\||[;|&>#]", _JOINED.sub(" ", text), maxsplit=1)[0]
    return line.split()


def _subcommand(words: list[str]) -> str:
    """Return the subcommand; "" where these are not words for Celery, but for people, say."""
    rest = iter(words)
    for word in rest:
        if word in _WITH_VALUE:
            next(rest, None)
        elif not word.startswith("-"):
            after = next(rest, "-")
            if word in _WITHOUT_WORDS and after[0].isalpha():  # "celery worker is down"
                return ""
            return word if word in SUBCOMMANDS else ""
    return ""
