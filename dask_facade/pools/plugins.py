"""Worker plugins that save what tasks have written where only their worker sees it."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from distributed.diagnostics.plugin import WorkerPlugin

logger = logging.getLogger(__name__)

ATTEMPTS = 3


class CopyOnTeardown(WorkerPlugin):
    """Copies what is in *source* to *target* when its worker ends.

    What cannot be copied is said in the log; all else is copied.
    """

    def __init__(self, source: str | Path, target: str | Path) -> None:
        self.source = str(source)
        self.target = str(target)

    def teardown(self, worker: Any) -> None:
        """Copy, also into what is there already."""
        Path(self.target).mkdir(parents=True, exist_ok=True)
        for path in Path(self.source).iterdir():
            there = Path(self.target, path.name)
            try:
                if path.is_dir():
                    shutil.copytree(path, there, dirs_exist_ok=True)
                else:
                    shutil.copy2(path, there)
            except OSError as error:
                logger.error("%s is not copied, or not all of it: %s", path, error)


class ContinuousArchive(WorkerPlugin):
    """Keeps a ``.tar.gz`` of *source* in *target*, anew every *interval* seconds and at the end.

    Each worker has its own, ``<its name>_archive.tar.gz``, which is whole at any time. What cannot
    be read is left out, and said in the log.
    """

    def __init__(self, source: str | Path, target: str | Path, interval: float = 60.0) -> None:
        self.interval = interval
        self.source = str(source)
        self.target = str(target)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("interval", "source", "target")}

    def setup(self, worker: Any) -> None:
        """Begin."""
        name = "".join(each if each.isalnum() or each in "-_" else "_" for each in str(worker.name))
        self._path = Path(self.target, f"{name}_archive.tar.gz")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="dask-facade-archive", daemon=True)
        self._thread.start()

    def teardown(self, worker: Any) -> None:
        """Write the last one."""
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._over.wait(self.interval):
            self._try()
        for _ in range(ATTEMPTS):
            if self._try():
                return
        logger.error("%s is not archived for the last time", self.source)

    def _try(self) -> bool:
        try:
            self._write()
        except OSError as error:  # there is no room for it, or no way to it
            logger.warning("%s is not archived this time: %s", self.source, error)
            return False
        return True

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".new")
        with tarfile.open(unfinished, "w:gz") as archive:
            for path in self._files():
                self._add(archive, path)
        unfinished.replace(self._path)

    def _add(self, archive: tarfile.TarFile, path: Path) -> None:
        name = os.path.relpath(path, self.source)
        with ExitStack() as opened:
            file = None
            try:
                if stat.S_ISREG(path.lstat().st_mode):
                    file = opened.enter_context(path.open("rb"))
                member = archive.gettarinfo(path, name, file)
            except OSError as error:  # it went meanwhile, or is not ours to read
                logger.warning("%s is left out of the archive: %s", path, error)
                return
            if member is None or (member.isreg() and file is None):
                return  # a socket, or what was none of this a moment ago
            archive.addfile(member, _Whole(file, path) if file and member.isreg() else None)

    def _files(self) -> Iterator[Path]:
        target = Path(self.target).resolve()
        for folder, names, files in os.walk(self.source, onerror=_left_out):
            if Path(folder).resolve() == target:
                files = [name for name in files if "_archive.tar." not in name]
            for name in sorted((*names, *files)):
                yield Path(folder, name)


class _Whole:
    """A file of which there is as much as was asked for: zeros, where it cannot be read."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path

    def read(self, size: int = 0, /) -> bytes:
        """Return *size* bytes."""
        why, found = "it became shorter", b""
        try:
            found = self._file.read(size)
        except OSError as error:
            why = str(error)
        if len(found) < size:
            logger.warning("%s is archived with zeros in the place of its end: %s", self._path, why)
        return found.ljust(size, b"\0")


def _left_out(error: OSError) -> None:
    logger.warning("%s is left out of the archive: %s", error.filename, error)
