"""Who is asked what the parts of a canvas are to be stamped with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from dask_facade.groups import group


class StampingVisitor(ABC):
    """Is asked, part by part, when a canvas is stamped: ``canvas.stamp(visitor=...)``.

    Each method gets a part and the stamps said so far, and returns stamps: names and values.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Return the stamps of a single call."""

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        """Return the stamps of all members of a group, which are asked for next."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027  # may do nothing
        """Be told that all members of a group are stamped."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        """Return the stamps of all steps of a chain, which are asked for next."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027  # likewise
        """Be told that all steps of a chain are stamped."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Return the stamps of a chord's header; unless overridden, those of the group it is."""
        members = sig.tasks if isinstance(sig.tasks, group) else group(sig.tasks)
        sig.tasks = members
        return self.on_group_start(members, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Be told that a chord's header is stamped."""
        self.on_group_end(sig.tasks, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Return the stamps of a chord's body."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        """Return the stamps of what runs when a call ends well."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        """Return the stamps of what runs when a call fails."""
        return {}
