"""Celery's own tests, as its source distribution has them, and what they need to run here."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PLACE = ROOT / "build" / "conformance"
PATH = HERE / "path"

VERSION = "5.7.0"
SHA256 = "6a5dfcf6662287204f009a02002b9e66c83d4105e47ebabdc7079108772fc6f0"
ARCHIVE = f"celery-{VERSION}.tar.gz"


def prepare() -> Path:
    """Make the folder in which the tests run; return the Python to run them with."""
    PLACE.mkdir(parents=True, exist_ok=True)
    python = _make_venv()
    archive = PLACE / ARCHIVE
    if not archive.exists() or _sum(archive) != SHA256:
        _download(python, archive)
    _unpack(archive)
    shutil.copy(HERE / "unit_conftest.py", PLACE / "t" / "unit" / "conftest.py")
    _assert_no_celery(python)
    return python


def environment(**more: str) -> Mapping[str, str]:
    """Return the environment of the tests, in which ``celery`` is this package."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS")
    }
    port = os.environ.get("REDIS_PORT", "6379")
    return {
        **inherited,
        "PYTHONPATH": str(PATH),
        "REDIS_PORT": port,
        "TEST_BACKEND": f"redis://localhost:{port}",
        "TEST_BROKER": f"redis://localhost:{port}",
        **more,
    }


def _make_venv() -> Path:
    """Return the Python of a virtual environment without Celery."""
    venv = PLACE / "venv"
    python = venv / "bin" / "python"
    stamp = venv / ".installed"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing dask_facade[conformance] into {venv.relative_to(ROOT)} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-e", f"{ROOT}[conformance]"], check=True)
    stamp.write_text(wanted)
    return python


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _download(python: Path, archive: Path) -> None:
    print(f"Downloading {ARCHIVE} ...", flush=True)
    wanted = PLACE / "requirements.txt"
    wanted.write_text(f"celery=={VERSION} --hash=sha256:{SHA256}\n")
    pip = [str(python), "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-binary", "celery", "--require-hashes", "-d", str(PLACE)]
    subprocess.run([*pip, *options, "-r", str(wanted)], check=True)
    if _sum(archive) != SHA256:
        raise SystemExit(f"{archive} is not what was asked for")


def _unpack(archive: Path) -> None:
    """Unpack the tests alone: nothing of Celery itself."""
    stamp = PLACE / "t" / ".unpacked"
    if stamp.exists() and stamp.read_text() == SHA256:
        return
    shutil.rmtree(PLACE / "t", ignore_errors=True)
    top = ARCHIVE.removesuffix(".tar.gz")
    with tarfile.open(archive) as file:
        for member in file.getmembers():
            name = member.name.removeprefix(f"{top}/")
            if name == "pyproject.toml" or name.startswith("t/"):
                member.name = name
                file.extract(member, PLACE, filter="data")
    stamp.write_text(SHA256)


def _assert_no_celery(python: Path) -> None:
    """See that ``celery`` is this package there, and that the real one is not to be had."""
    bare = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    real = subprocess.run(
        [str(python), "-c", "import celery"], cwd="/", env=bare, capture_output=True, check=False
    )
    if real.returncode == 0:
        raise SystemExit(f"Celery is installed for {python}: remove {python.parents[1]}")
    ours = [str(python), "-c", "import celery; assert celery.__name__ == 'dask_facade.celery'"]
    subprocess.run(ours, cwd=PLACE, env=environment(), check=True)


class Redis:
    """A Redis server: the one that answers, or one that ends with the block."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Redis:
        port = int(environment()["REDIS_PORT"])
        if _answers(port):
            return self
        if shutil.which("redis-server") is None:
            raise SystemExit(
                f"no Redis answers on port {port}, and there is no redis-server to start: the "
                "tests use one as a scratch pad"
            )
        command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
        self._server = subprocess.Popen([*command, "--dir", str(PLACE)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not _answers(port):
            if time.monotonic() > deadline:
                raise SystemExit(f"redis-server does not answer on port {port}")
            time.sleep(0.05)
        return self

    def __exit__(self, *raised: object) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("localhost", port), 1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(5) == b"+PONG"
    return False
