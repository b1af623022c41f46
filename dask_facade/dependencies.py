"""What follows from what, as a graph that can be walked, sorted and drawn."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Protocol


class CycleError(Exception):
    """A thing depends, in the end, on itself."""


class Formatter(Protocol):
    """How a graph is drawn."""

    def head(self) -> str:
        """Return what stands before all nodes."""

    def node(self, each: Any) -> str:
        """Return the line of a node."""

    def edge(self, one: Any, other: Any) -> str:
        """Return the line of an arrow."""

    def tail(self) -> str:
        """Return what stands behind all."""


class GraphFormatter:
    """Draws graphs in Graphviz's language, with the root set off."""

    def __init__(self, root: Any = None, type: str = "digraph", id: str = "dependencies") -> None:
        self._id = id
        self._root = root
        self._type = type

    def label(self, each: Any) -> str:
        """Return what a node is called."""
        return str(each)

    def head(self) -> str:
        """Return what stands before all nodes."""
        return f"{self._type} {_quoted(self._id)} {{"

    def node(self, each: Any) -> str:
        """Return the line of a node; the root's has double lines."""
        label = self.label(each)
        lines = ", peripheries=2" if self._root is not None and str(self._root) == label else ""
        return f"    {_quoted(label)} [shape=oval{lines}]"

    def edge(self, one: Any, other: Any) -> str:
        """Return the line of an arrow from *one* to *other*."""
        arrow = "->" if self._type == "digraph" else "--"
        return f"    {_quoted(self.label(one))} {arrow} {_quoted(self.label(other))}"

    def tail(self) -> str:
        """Return what stands behind all."""
        return "}"


class DependencyGraph:
    """Things, and for each those that it leads to, in the order in which they were added."""

    def __init__(
        self,
        it: Iterable[tuple[Any, Iterable[Any]]] | None = None,
        formatter: Formatter | None = None,
    ) -> None:
        self.adjacent: dict[Any, list[Any]] = {}
        self.formatter = formatter or GraphFormatter()
        if it is not None:
            self.update(it)

    def __contains__(self, each: Hashable) -> bool:
        return each in self.adjacent

    def __getitem__(self, each: Any) -> list[Any]:
        return self.adjacent[each]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __len__(self) -> int:
        return len(self.adjacent)

    def __repr__(self) -> str:
        arrows = [f"{one} -> {other}" for one, others in self.items() for other in others]
        return f"<{type(self).__name__}: {', '.join(arrows) or ', '.join(map(str, self))}>"

    def add_arc(self, each: Any) -> None:
        """Add a thing, unless it is there."""
        self.adjacent.setdefault(each, [])

    def add_edge(self, one: Any, other: Any) -> None:
        """Let *one*, which is there, lead to *other*."""
        self[one].append(other)

    def connect(self, graph: DependencyGraph) -> None:
        """Take in another graph."""
        self.adjacent.update(graph.adjacent)

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add things, each with those that it leads to."""
        pairs = [(one, list(others)) for one, others in it]
        for one, _ in pairs:
            self.add_arc(one)
        for one, others in pairs:
            for other in others:
                self.add_edge(one, other)

    def items(self) -> Iterable[tuple[Any, list[Any]]]:
        """Return things, each with those that it leads to."""
        return self.adjacent.items()

    def edges(self) -> list[Any]:
        """Return the things that lead to others."""
        return [one for one, others in self.items() if others]

    def valency_of(self, each: Any) -> int:
        """Return how many arrows there are on all ways from a thing, and it."""
        return 1 + sum(self.valency_of(other) for other in self.adjacent.get(each, ()))

    def topsort(self) -> list[Any]:
        """Return all things, each behind those that it leads to. Raises CycleError."""
        done: dict[Any, None] = {}
        for root in self:
            open: dict[Any, Iterator[Any]] = {} if root in done else {root: iter(self[root])}
            while open:
                node = next(reversed(open))
                for other in open[node]:
                    if other in open:
                        raise CycleError(f"{other} leads to itself")
                    if other not in done:
                        open[other] = iter(self.adjacent.get(other, ()))
                        break
                else:
                    del open[node]
                    done[node] = None
        return list(done)

    def to_dot(self, file: Any, formatter: Formatter | None = None) -> None:
        """Write it to a file of text in Graphviz's language."""
        draw = formatter or self.formatter
        drawn: set[Any] = set()
        lines = [draw.head()]
        for one, others in self.items():
            for each in (one, *others):
                if each not in drawn:
                    drawn.add(each)
                    lines.append(draw.node(each))
            lines += [draw.edge(one, other) for other in others]
        file.write("\n".join([*lines, draw.tail(), ""]))


def _quoted(words: str) -> str:
    return '"{}"'.format(words.replace("\\", "\\\\").replace('"', '\\"'))
