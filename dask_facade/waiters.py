"""Who waits for the ends of which jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable


class Waiters:
    """Clients and the ids that each waits for."""

    def __init__(self) -> None:
        self._ids: dict[str, set[str]] = {}  # client -> what it waits for
        self._clients: dict[str, set[str]] = {}  # id -> who waits for it

    def __len__(self) -> int:
        """How many ids are waited for."""
        return len(self._clients)

    def add(self, client: str, ids: Collection[str]) -> None:
        """Note that *client* waits for these jobs."""
        if ids:
            self._ids.setdefault(client, set()).update(ids)
        for id in ids:
            self._clients.setdefault(id, set()).add(client)

    def of(self, id: str) -> Iterable[str]:
        """Return who waits for a job."""
        return self._clients.get(id, ())

    def pop(self, id: str) -> Iterable[str]:
        """Return who waits for a job, and let none of them wait any more."""
        clients = self._clients.pop(id, ())
        for client in clients:
            _drop(self._ids, client, id)
        return clients

    def remove(self, client: str, id: str) -> bool:
        """Let *client* not wait for a job any more; tell whether it did."""
        clients = self._clients.get(id)
        if clients is None or client not in clients:
            return False
        _drop(self._clients, id, client)
        _drop(self._ids, client, id)
        return True

    def leave(self, client: str) -> None:
        """Let *client* wait for nothing any more."""
        for id in self._ids.pop(client, ()):
            _drop(self._clients, id, client)


def _drop(sets: dict[str, set[str]], key: str, member: str) -> None:
    members = sets[key]
    members.discard(member)
    if not members:
        del sets[key]
