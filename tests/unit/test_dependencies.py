"""The graph of what followed from what."""

from __future__ import annotations

from io import StringIO

import pytest

from dask_facade.dependencies import CycleError, DependencyGraph, GraphFormatter


def test_things_stand_behind_those_that_they_lead_to() -> None:
    graph = DependencyGraph([("a", ["b", "c"]), ("b", ["d"]), ("c", ["d"]), ("d", [])])

    assert graph.topsort() == ["d", "b", "c", "a"]
    assert graph.edges() == ["a", "b", "c"]
    assert [graph.valency_of(each) for each in "dba"] == [1, 2, 5]
    assert ("a" in graph, "e" in graph, len(graph), list(graph)) == (True, False, 4, list("abcd"))


def test_a_circle_is_told() -> None:
    graph = DependencyGraph([("a", ["b"]), ("b", ["a"])])

    with pytest.raises(CycleError):
        graph.topsort()


def test_a_graph_takes_in_another() -> None:
    graph, other = DependencyGraph([("a", [])]), DependencyGraph([("b", ["c"]), ("c", [])])

    graph.connect(other)

    assert dict(graph.items()) == {"a": [], "b": ["c"], "c": []}


def test_it_is_drawn_for_graphviz() -> None:
    graph = DependencyGraph([('a"', ["b"]), ("b", [])], formatter=GraphFormatter(root="b"))
    file = StringIO()

    graph.to_dot(file)

    assert file.getvalue().splitlines() == [
        'digraph "dependencies" {',
        '    "a\\"" [shape=oval]',
        '    "b" [shape=oval, peripheries=2]',
        '    "a\\"" -> "b"',
        "}",
    ]
