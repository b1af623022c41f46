from __future__ import annotations

from codebase.analysis import Function, Measure
from codebase.charts import LABEL, bar_chart, shortened
from codebase.ranking import LEADERS, rank_files
from codebase.tables import tables_of

RANKING = rank_files(
    [
        Measure(
            path=f"/a/{n}.py",
            size=1,
            lines=n,
            code=1,
            functions=1,
            classes=0,
            complexity=100 - n,
            worst=Function("f", line=1, complexity=1),
            imports=(),
        )
        for n in range(60)
    ],
    "/lib",
)


def test_tables_are_ordered_by_complexity_unless_asked():
    tables = tables_of(RANKING, {})

    assert [row.complexity for row in tables.files.rows] == list(range(100, 100 - LEADERS, -1))
    assert [column.label for column in tables.files.columns if column.active] == ["Complexity"]


def test_a_query_orders_one_table_and_leaves_the_other():
    tables = tables_of(RANKING, {"files": "lines"})

    assert [row.lines for row in tables.files.rows] == list(range(59, 59 - LEADERS, -1))
    assert [column.label for column in tables.packages.columns if column.active] == ["Complexity"]


def test_links_keep_the_order_of_the_other_table():
    tables = tables_of(RANKING, {"packages": "lines"})

    assert tables.files.columns[2].query == "?files=functions&packages=lines#files"


def test_a_query_that_names_no_column_is_ignored():
    tables = tables_of(RANKING, {"files": "__class__", "packages": ""})

    assert tables == tables_of(RANKING, {})


def test_the_longest_bar_fills_the_width():
    chart = bar_chart("files", "Files", [("a.py", 200), ("b.py", 50)])

    assert [bar.width for bar in chart.bars] == ["100.00%", "25.00%"]
    assert chart.bars[1].top * 2 == chart.height
    assert "from a.py with 200 to b.py with 50" in chart.description


def test_bars_of_nothing_have_no_length():
    assert [bar.width for bar in bar_chart("x", "X", [("a", 0)]).bars] == ["0.00%"]
    assert bar_chart("x", "X", []).bars == ()


def test_a_long_path_keeps_its_end_from_a_slash_on():
    name = "package/with/many/directories/and/a/long/name/module.py"

    assert shortened("short.py") == "short.py"
    assert shortened(name) == "…/and/a/long/name/module.py"
    assert len(shortened("x" * 99)) == LABEL
