"""The pages do what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import ROOT, DispatcherProcess

PAGES = {page.stem: page.read_text() for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
FILE = re.compile(r"^`([\w/.]+)`\n\n```python\n(.*?)^```", re.M | re.S)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
SESSION = re.compile(r"^```console\n\$ python (\w+\.py|-m dask_facade .*?)\n(.*?)^```", re.M | re.S)
SESSIONS = [
    pytest.param(name, printed, id=f"{page}-{name}")
    for page, text in PAGES.items()
    for name, printed in SESSION.findall(text)
]


class Site:
    """The project that the pages make, file by file, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lay_out(self) -> None:
        """Write the files; a later page adds to the modules of an earlier one."""
        for page in ["first-job", *(page for page in PAGES if page != "first-job")]:
            for name, code in FILE.findall(PAGES[page]):
                path = self.folder / name
                path.parent.mkdir(exist_ok=True)
                with path.open("a") as file:
                    file.write(code)

    def run(self, *command: str) -> str:
        """Run Python there; return what it printed."""
        environment = {
            name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
        }
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.lay_out()
    site.run("manage.py", "migrate", "-v", "0")
    dispatcher = DispatcherProcess(command=["manage.py"], folder=site.folder, settings=None)
    try:
        dispatcher.wait_until_ready()
        yield site
    finally:
        dispatcher.stop()


@pytest.mark.parametrize(("name", "printed"), SESSIONS)
def test_a_command_prints_what_its_page_promises(site: Site, name: str, printed: str) -> None:
    assert site.run(*shlex.split(name)) == printed


def test_no_page_takes_the_name_of_another_ones_script() -> None:
    scripts = [name for text in PAGES.values() for name, _ in FILE.findall(text) if "/" not in name]

    assert len(scripts) == len(set(scripts))


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_python_compiles(page: str) -> None:
    for code in BLOCK.findall(PAGES[page]):
        compile(code, f"{page}.md", "exec")


def test_every_setting_is_on_its_page_with_its_default() -> None:
    from dask_facade.conf import Settings

    first, *_ = re.findall(r"```python\n(DASK_FACADE = .*?)^```", PAGES["running"], re.M | re.S)
    names: dict[str, dict[str, object]] = {}
    exec(first, {}, names)

    assert Settings.read(names["DASK_FACADE"]) == Settings()
    assert set(names["DASK_FACADE"]) == set(Settings.__dataclass_fields__)


def test_every_setting_of_celerys_that_is_known_is_on_its_page() -> None:
    from dask_facade.config import DEFAULTS

    said = set(re.findall(r"`(\w+)`", PAGES["coming-from-celery"]))

    assert DEFAULTS.keys() <= said


def test_every_name_in_the_table_of_imports_is_there() -> None:
    rows = re.findall(
        r"^\| (`from celery.*?) \| `from (\S+) import", PAGES["coming-from-celery"], re.M
    )
    assert rows

    for celery, module in rows:
        for names in re.findall(r"import ([\w, ]+)`", celery):
            exec(f"from {module} import {names}", {})


def test_links_between_pages_lead_somewhere() -> None:
    for page, text in PAGES.items():
        folder = ROOT if page == "README" else ROOT / "docs"
        for target, heading in re.findall(r"\]\(([^)#:]+)(?:#([^)]*))?\)", text.replace("\n", " ")):
            assert (folder / target).exists(), f"{page} links {target}"
            if heading:
                headings = re.findall(r"^#+ (.*)", PAGES[Path(target).stem], re.M)
                assert heading in {slug(each) for each in headings}, f"{page}: {target}#{heading}"


def slug(heading: str) -> str:
    """Return what a heading is in an address."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
