"""Worker plugins that save what tasks have written where only their worker sees it."""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

logger = logging.getLogger(__name__)

ATTEMPTS = 3


class CopyOnTeardown(WorkerPlugin):
    """Copies what is in *source* to *target* when its worker ends."""

    def __init__(self, source: str | Path, target: str | Path) -> None:
        self.source = str(source)
        self.target = str(target)

    def teardown(self, worker: Any) -> None:
        """Copy, also into what is there already."""
        Path(self.target).mkdir(parents=True, exist_ok=True)
        for path in Path(self.source).iterdir():
            there = Path(self.target, path.name)
            if path.is_dir():
                shutil.copytree(path, there, dirs_exist_ok=True)
            else:
                shutil.copy2(path, there)


class ContinuousArchive(WorkerPlugin):
    """Keeps a ``.tar.gz`` of *source* in *target*, anew every *interval* seconds and at the end.

    Each worker has its own, ``<its name>_archive.tar.gz``, which is whole at any time.
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
        except OSError as error:  # a file became shorter while it was read, or the disk is full
            logger.warning("%s is not archived this time: %s", self.source, error)
            return False
        return True

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".new")
        with tarfile.open(unfinished, "w:gz") as archive:
            for path in self._files():
                name = os.path.relpath(path, self.source)
                try:
                    member = archive.gettarinfo(path, name)
                except FileNotFoundError:
                    continue  # it went meanwhile
                if member is not None and member.isreg():
                    with path.open("rb") as file:
                        archive.addfile(member, file)
                elif member is not None:
                    archive.addfile(member)
        unfinished.replace(self._path)

    def _files(self) -> Iterator[Path]:
        target = Path(self.target).resolve()
        for folder, names, files in os.walk(self.source):
            if Path(folder).resolve() == target:
                files = [name for name in files if "_archive.tar." not in name]
            for name in sorted((*names, *files)):
                yield Path(folder, name)
