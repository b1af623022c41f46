"""A dispatcher that leads a ledger in memory, for tests of what its readers see."""

from __future__ import annotations

from typing import Any

from dask_facade.jobs import Batch, Claim
from dask_facade.ledger.memory import MemoryStore
from dask_facade.messages import Again, Outcome, Update
from dask_facade.packing import pack_again
from dask_facade.serialization import dump_exception, dumps, preview
from dask_facade.states import FAILURE, RETRY, REVOKED
from tests.unit.listening import SECRET


class Leader:
    """Takes jobs up, hands them to a runner, and writes what that says of them."""

    def __init__(self, store: MemoryStore, *addresses: str) -> None:
        self._store = store
        self.desk = store.open_desk()
        lease = self.desk.lead("tests", addresses, SECRET, store.lease())
        assert lease is not None
        self.epoch = lease.epoch

    def asked(self) -> list[tuple[str, str, dict[str, object]]]:
        """Return the requests that wait for it: kind, name, arguments."""
        asked = self.desk.requests(self.epoch, 1_000)
        return [(each.kind, each.name, dict(each.arguments)) for each in asked]

    def claim(self, id: str, *, attempt: int = 1, hand: int = 1) -> None:
        """Hand a job to a runner."""
        claim = Claim(id, attempt, hand, "runner", "tcp://worker:1")
        written = self.desk.write(self.epoch, Batch(claims=[claim]))
        assert written.claimed == ((id, hand),)

    def end(
        self,
        id: str,
        state: str,
        value: Any = None,
        traceback: str | None = None,
        *,
        attempt: int = 1,
        hand: int = 1,
        **fields: Any,
    ) -> None:
        """Let a job end as its runner says."""
        self.claim(id, attempt=attempt, hand=hand)
        outcome = outcome_of(id, state, value, traceback)
        outcome = outcome._replace(attempt=attempt, hand=hand, **fields)
        assert self.desk.write(self.epoch, Batch(outcomes=[outcome])).outcomes

    def say(self, id: str, state: str, meta: Any = None) -> None:
        """Let a running job say a state of its own."""
        update = Update(id, 1, 1, state, dumps(meta), preview(meta))
        self.desk.update(self.epoch, [update])


def outcome_of(id: str, state: str, value: Any, traceback: str | None = None) -> Outcome:
    """Return the end of a first attempt: with its value, its exception, or why it was revoked."""
    failed = state in (FAILURE, RETRY)
    return Outcome(
        id=id,
        attempt=1,
        hand=1,
        state=state,
        result=None if state == REVOKED else dump_exception(value) if failed else dumps(value),
        preview=value if state == REVOKED else preview(value),
        traceback=traceback,
        started=1.0,
        finished=2.0,
        runtime=1.0,
        again=pack_again(Again(0.0, b"", [], [], [])) if state == RETRY else b"",
    )
