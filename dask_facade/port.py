"""List what a project uses of Celery, and what becomes of it: ``python -m dask_facade.port PATH``.

Neither the project nor Celery is imported. The exit status is 0 if nothing is refused, 1 if
something is, or if a file cannot be read or written, and 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dask_facade.porting.project import look_through, rename_imports
from dask_facade.porting.telling import as_json, as_text


def main(arguments: Sequence[str]) -> int:
    """Look through the project; return the exit status of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m dask_facade.port",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", metavar="PATH", type=Path, help="a project, or one file of it")
    parser.add_argument("--write", action="store_true", help="rename the imports")
    parser.add_argument("--json", action="store_true", help="tell it to a program")
    said = parser.parse_args(arguments)
    if not said.path.exists():
        parser.error(f"there is no {said.path}")
    report, sources = look_through(said.path)
    if said.write:
        rename_imports(report, sources)
    sys.stdout.write(as_json(report) if said.json else as_text(report))
    return 0 if report.is_clean() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
