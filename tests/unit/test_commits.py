"""What is written together, and what becomes of those who are to be told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dask_facade.dispatcher.commits import Commits
from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.jobs import Batch, Claim, Written
from dask_facade.ledger.memory import MemoryStore


def lead(store: MemoryStore) -> LedgerWriter:
    desk = store.open_desk()
    lease = desk.lead("tests", (), b"secret", None)
    assert lease is not None
    return LedgerWriter(desk, lease.epoch)


@pytest.mark.parametrize("count", [1, 100], ids=["at once", "in the ledger's thread"])
def test_what_goes_wrong_when_an_answer_is_told_ends_the_leadership(
    no_thread_stays: None, count: int
) -> None:
    failures: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        failed = asyncio.Event()
        writer = lead(MemoryStore())

        def wrote(batch: Batch, written: Written) -> None:
            raise ZeroDivisionError

        def fail(error: BaseException) -> None:
            failures.append(error)
            failed.set()

        nothing: Any = None
        commits = Commits(writer, wrote, nothing, is_quiet=lambda: True, fail=fail)
        commits.write(Batch(claims=[Claim(str(n), 1, 1, "r", "w") for n in range(count)]))
        await asyncio.wait_for(failed.wait(), 10)
        commits.close()
        writer.close()

    asyncio.run(main())

    assert [type(error) for error in failures] == [ZeroDivisionError]


def test_a_transaction_that_nobody_waits_for_any_more_still_has_the_desk_for_itself(
    no_thread_stays: None,
) -> None:
    async def main() -> tuple[bool, Written | None]:
        writer = lead(MemoryStore())
        loop = asyncio.get_running_loop()
        begun, go_on = asyncio.Event(), asyncio.Event()

        def transaction() -> None:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

        task = asyncio.ensure_future(writer.run(transaction))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        meanwhile = writer.write_at_once(Batch())
        go_on.set()
        await asyncio.wait([task])
        writer.close()
        return task.cancelled(), meanwhile

    assert asyncio.run(main()) == (True, None)
