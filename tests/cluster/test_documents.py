"""Dask's documents on tasks: each block of their code runs in a job of ours, and around it.

The cluster has one worker of one thread, on which nothing may wait for another's turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dask_facade import DaskFacade
from dask_facade.cluster.connection import close_all
from tests.cluster.documents import (
    BLOCKS,
    FIRST,
    SECOND,
    Block,
    blocks_of,
    run_here,
    run_in_job,
    text_of,
)
from tests.cluster.processes import DispatcherProcess

in_a_job_or_not = pytest.mark.parametrize("where", ["in a job", "around"])
ALL = [
    pytest.param(document, block, id=f"{document}-{block.number}")
    for document, blocks in BLOCKS.items()
    for block in blocks
]
Ran = Callable[[str, str], dict[int, str]]


@pytest.fixture(scope="module", autouse=True)
def _documents() -> None:
    for document in BLOCKS:
        text_of(document)


@pytest.fixture(scope="module")
def scheduler(app: DaskFacade, environment: dict[str, str]) -> Iterator[str]:
    dispatcher = DispatcherProcess(["--workers", "1"], **environment)
    try:
        dispatcher.wait_until_ready()
        yield dispatcher.scheduler
    finally:
        close_all()
        dispatcher.stop()


@pytest.fixture(scope="module")
def ran(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """What each block of a document raised when all were run."""
    known: dict[tuple[str, str], dict[int, str]] = {}

    def run(document: str, where: str) -> dict[int, str]:
        if (document, where) not in known:
            folder: Path = tmp_path_factory.mktemp("files")
            code = [block.code_in(document, folder) for block in BLOCKS[document]]
            if where == "around":
                errors = run_here(code, scheduler)
            else:
                errors = run_in_job.delay(code, scheduler).get(timeout=180)
            numbers = [block.number for block in BLOCKS[document]]
            known[document, where] = dict(zip(numbers, errors, strict=True))
        return known[document, where]

    return run


@pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")
@in_a_job_or_not
@pytest.mark.parametrize(("document", "block"), ALL)
def test_a_block_of_the_documents_runs(ran: Ran, document: str, block: Block, where: str) -> None:
    error = ran(document, where)[block.number]

    assert not error, error


@pytest.mark.parametrize("document", [FIRST, SECOND])
def test_no_block_of_the_documents_is_left_out(document: str) -> None:
    assert [block.number for block in BLOCKS[document]] == list(range(len(blocks_of(document))))
