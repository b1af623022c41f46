from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCES = shutil.ignore_patterns(
    ".*", "__pycache__", "build", "dist", "*.egg-info", "*.sqlite3*"
)


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that sees nothing of the environment of this test."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def run_or_fail(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    if done.returncode:
        pytest.fail(
            f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False
        )
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy, because setuptools leaves build/ behind and packs what it finds there.
    source = tmp_path_factory.mktemp("source") / "dask_facade"
    shutil.copytree(ROOT, source, symlinks=True, ignore=NOT_SOURCES)

    # With no option, build makes the sdist, and the wheel from the sdist: both are proved.
    run_or_fail(sys.executable, "-m", "build", ".", cwd=source)

    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and its dependencies, nothing else."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    run_or_fail(
        python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel, cwd=home
    )
    return python


def source_files() -> set[str]:
    return {
        str(PurePosixPath(Path(folder).relative_to(ROOT)) / file)
        for folder, _, files in os.walk(ROOT / "dask_facade", followlinks=True)
        for file in files
        if "__pycache__" not in folder
    }


def test_the_wheel_has_one_top_level_package(wheel):
    names = {PurePosixPath(name).parts[0] for name in ZipFile(wheel).namelist()}

    assert {name for name in names if not name.endswith(".dist-info")} == {"dask_facade"}


def test_the_wheel_holds_every_file_of_the_package(wheel):
    packed = {name for name in ZipFile(wheel).namelist() if name.startswith("dask_facade/")}

    assert packed == source_files()
    assert "dask_facade/api/apps.py" in packed


@pytest.mark.parametrize("module", ["dask_facade", "dask_facade.api.apps"])
def test_an_installed_module_is_importable(python, tmp_path, module):
    where = run_or_fail(python, "-c", f"import {module} as m; print(m.__file__)", cwd=tmp_path)

    assert Path(where.strip()).is_relative_to(python.parents[1])


def test_the_installed_script_is_the_command_line(python, tmp_path):
    script = run_or_fail(python.with_name("dask-facade"), "--help", cwd=tmp_path)
    module = run_or_fail(python, "-m", "dask_facade", "--help", cwd=tmp_path)

    assert "inspect" in script
    assert script.splitlines()[1:] == module.splitlines()[1:]  # the first names the program


def test_the_installed_package_is_typed(python, tmp_path):
    check = "from importlib.resources import files; print(files('dask_facade') / 'py.typed')"

    assert Path(run_or_fail(python, "-c", check, cwd=tmp_path).strip()).exists()


def test_api_alone_is_not_importable(python, tmp_path):
    done = run(python, "-c", "import api", cwd=tmp_path)

    assert "No module named 'api'" in done.stderr
