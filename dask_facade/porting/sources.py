"""The files of a project: which there are, and what is in them."""

from __future__ import annotations

import ast
import bisect
import io
import os
import re
import tokenize
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dask_facade.exceptions import DaskFacadeError

_SKIPPED = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__"})
_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")  # one of them is in each virtual environment
_SUFFIXES = frozenset(
    {".bash", ".cfg", ".conf", ".dockerfile", ".ini", ".mk", ".service", ".sh", ".toml"}
) | {".yaml", ".yml"}
_NAMES = re.compile(r"(Dockerfile|Containerfile|Makefile|Procfile|justfile)(\..*)?", re.IGNORECASE)
_NEWLINE = re.compile(r"\r\n|\r|\n")
TEXT_LIMIT = 2**20
"""Bytes; what is larger and no Python was written by no one who starts a worker there."""


class Unparsable(DaskFacadeError, ValueError):
    """A file that is no Python, or cannot be read."""

    def __init__(self, path: Path, line: int, column: int, why: str) -> None:
        super().__init__(f"{path}:{line}:{column}: {why}")
        self.path, self.line, self.column, self.why = path, line, column, why


@dataclass(frozen=True)
class Source:
    """A Python file: its text with its own line ends, and what `ast` makes of it."""

    path: Path
    text: str
    encoding: str
    tree: ast.Module
    _starts: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        starts = [0, *(each.end() for each in _NEWLINE.finditer(self.text))]
        object.__setattr__(self, "_starts", starts)

    @cached_property
    def nodes(self) -> Sequence[ast.AST]:
        """All of the tree, as `ast.walk` has it: it is asked for often, and slow."""
        return tuple(ast.walk(self.tree))

    def offset(self, line: int, column: int) -> int:
        """Return the index in the text of a position of `ast`, which counts a line's bytes."""
        start = self._starts[line - 1]
        end = self._starts[line] if line < len(self._starts) else len(self.text)
        before = self.text[start:end].encode()[:column]
        return start + len(before.decode())

    def span(self, node: ast.expr | ast.stmt | ast.alias) -> tuple[int, int]:
        """Return where a node begins and ends in the text."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self.offset(node.lineno, node.col_offset), self.offset(end_line, end_column)

    def place(self, node: ast.expr | ast.stmt | ast.alias | ast.keyword) -> tuple[int, int]:
        """Return the line and the column at which a node begins, both from 1, in characters."""
        start = self._starts[node.lineno - 1]
        return node.lineno, self.offset(node.lineno, node.col_offset) - start + 1

    def line_start(self, offset: int) -> int:
        """Return where the line of an index of the text begins."""
        return self._starts[bisect.bisect_right(self._starts, offset) - 1]


def files_in(path: Path, missed: Callable[[OSError], None]) -> Iterator[Path]:
    """Yield the files of a project in order, without virtual environments; *path* if it is one.

    *missed* is told of folders that cannot be read.
    """
    if path.is_file():
        yield path
        return
    for folder, names, files in os.walk(path, onerror=missed):
        names[:] = sorted(each for each in names if not _is_skipped(Path(folder, each)))
        yield from (file for each in sorted(files) if (file := Path(folder, each)).is_file())


def is_python(path: Path) -> bool:
    """Tell whether a file is to be parsed."""
    return path.suffix in {".py", ".pyi", ".pyw"}


def may_start_programs(path: Path) -> bool:
    """Tell whether a file may have command lines: of shells, Docker, systemd and the like."""
    if path.suffix.lower() in _SUFFIXES or _NAMES.fullmatch(path.name):
        return True
    return not path.suffix and _is_script(path)


def read_python(path: Path) -> Source:
    """Return what is in a Python file; raise Unparsable."""
    try:
        content = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return parse(path, content.decode(encoding), encoding)
    except SyntaxError as error:
        raise Unparsable(path, error.lineno or 1, error.offset or 1, error.msg) from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        why = f"{type(error).__name__}: {error}"
        raise Unparsable(path, 1, 1, why) from error


def parse(path: Path, text: str, encoding: str) -> Source:
    """Return a Python file of this text; raise what `ast` does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the project's escapes and comparisons
        return Source(path, text, encoding, ast.parse(text))


def read_text(path: Path) -> str:
    """Return what is in another file, "" of one that is too large; raise Unparsable."""
    try:
        if path.stat().st_size > TEXT_LIMIT:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Unparsable(path, 1, 1, f"{type(error).__name__}: {error}") from error


def _is_skipped(folder: Path) -> bool:
    return folder.name in _SKIPPED or any((folder / each).exists() for each in _ENVIRONMENTS)


def _is_script(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False
