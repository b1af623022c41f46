"""Which of Celery's tests count for what: ``tiers.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance import suite
from tests.conformance.insides import reaching

EXCLUDED = "excluded"
UNIT = "unit"  # the tier of which tests that reach into insides are no part
FILE = Path(__file__).with_name("tiers.toml")


@dataclass(frozen=True, slots=True)
class Tiers:
    """The tiers, what belongs to them, and what is known to fail.

    An entry names an item; a function with all its parameters; or a class, or a file, with all
    that is in it. The entry that says most decides.
    """

    files: Mapping[str, str]  # to the tier of what no entry names
    entries: Mapping[str, str]  # to a tier, or EXCLUDED
    known_failures: Mapping[str, str]  # to the reason
    minima: Mapping[str, int]

    @classmethod
    def read(cls, path: Path = FILE) -> Tiers:
        """Return what the file says."""
        said = tomllib.loads(path.read_text())
        entries = {name: EXCLUDED for reason in said["excluded"] for name in reason["items"]}
        for tier, names in said["items"].items():
            entries.update(dict.fromkeys(names, tier))
        return cls(said["files"], entries, _reasons(said.get("known_failures", [])), said["minima"])

    def tier_of(self, item: str) -> str:
        """Return the tier of an item, or EXCLUDED."""
        for name in _names_of(item):
            if name in self.entries:
                return self.entries[name]
        file, _, test = item.partition("::")
        tier = self.files[file]
        if tier == UNIT and test.partition("[")[0] in reaching(suite.PLACE / file):
            return EXCLUDED
        return tier

    def is_known_to_fail(self, item: str) -> bool:
        """Tell whether an item is among the known failures."""
        return any(name in self.known_failures for name in _names_of(item))

    def unmatched(self, file: str, items: Sequence[str]) -> list[str]:
        """Return the entries for *file* that name none of its items."""
        named = {name for item in items for name in _names_of(item)}
        said = [*self.entries, *self.known_failures]
        return [name for name in said if name.partition("::")[0] == file and name not in named]


def _names_of(item: str) -> list[str]:
    """Return what may name an item, what says most first."""
    function, bracket, _ = item.partition("[")
    parts = function.split("::")
    prefixes = ["::".join(parts[:count]) for count in range(len(parts), 1, -1)]
    return [item, *prefixes] if bracket else prefixes


def _reasons(said: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {name: each["reason"] for each in said for name in each["items"]}
