"""The pages do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.cluster.processes import ROOT, DispatcherProcess

PAGE = (ROOT / "docs" / "first-job.md").read_text()


def lay_out(folder: Path) -> None:
    """Write the files of the page."""
    for name, code in re.findall(r"^`([\w/.]+)`\n\n```python\n(.*?)^```", PAGE, re.M | re.S):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)


def test_the_first_job_runs_as_printed(tmp_path: Path) -> None:
    lay_out(tmp_path)
    environment = {
        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
    }
    promised = PAGE.partition("$ python order.py\n")[2].partition("```")[0]

    def run(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
        ).stdout

    run("manage.py", "migrate", "-v", "0")
    dispatcher = DispatcherProcess(command=["manage.py"], folder=tmp_path, settings=None)
    try:
        dispatcher.wait_until_ready()
        assert run("order.py") == promised
    finally:
        dispatcher.stop()


def test_every_setting_is_on_its_page_with_its_default() -> None:
    from dask_facade.conf import Settings

    page = (ROOT / "docs" / "running.md").read_text()
    (block,) = re.findall(r"```python\n(DASK_FACADE = .*?)^```", page, re.M | re.S)
    names: dict[str, dict[str, object]] = {}
    exec(block, {}, names)

    assert Settings.read(names["DASK_FACADE"]) == Settings()
    assert set(names["DASK_FACADE"]) == set(Settings.__dataclass_fields__)


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links {target}"
