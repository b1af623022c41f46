"""Python files on disk: finding them, and measuring one."""

from __future__ import annotations

import os
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from codebase.analysis import Measure, Unparsable, measure_source


def library_directories() -> list[Path]:
    """Return where this interpreter keeps its own library and the installed packages."""
    return [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]


def python_files(directories: Iterable[Path]) -> list[str]:
    """Return every `*.py` below the directories, each real file once, sorted.

    Links to directories are not followed; a directory that cannot be read counts as empty.
    """
    roots = {directory.resolve() for directory in directories}
    return sorted({path for root in roots for path in files_below(root)})


def files_below(root: Path) -> Iterator[str]:
    """Yield the real paths of the `*.py` files below a resolved directory."""
    for directory, _, names in os.walk(root):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                yield os.path.realpath(path) if os.path.islink(path) else path


def measure_file(path: str) -> Measure | Unparsable:
    """Measure one file; one that cannot be read, decoded or parsed is a result too."""
    try:
        with tokenize.open(path) as file:
            size = os.fstat(file.fileno()).st_size
            return measure_source(path, file.read(), size=size)
    except (OSError, SyntaxError, ValueError, LookupError, RecursionError, MemoryError) as error:
        # ValueError: null bytes, bytes that are not of the encoding. LookupError: a coding
        # cookie that names no text encoding. RecursionError, MemoryError: nested too deep.
        return Unparsable(path=path, error=f"{type(error).__name__}: {error}")
