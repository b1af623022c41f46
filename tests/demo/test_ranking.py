from __future__ import annotations

import json

import pytest
from codebase.analysis import Function, Measure, Unparsable
from codebase.ranking import LEADERS, ImportRow, PackageRow, rank_files
from codebase.records import measure_record, ranking_record, read_measure, read_ranking

STDLIB = "/lib/python3"
SITE = "/venv/lib/python3/site-packages"


def measure(path, *, lines=10, complexity=1, functions=1, worst=1, imports=()):
    return Measure(
        path=path,
        size=100,
        lines=lines,
        code=lines - 1,
        functions=functions,
        classes=2,
        complexity=complexity,
        worst=Function("f", line=1, complexity=worst),
        imports=imports,
    )


def test_totals_count_unparsable_files_as_files_only():
    ranking = rank_files([measure("/a/b.py"), Unparsable("/a/c.py", "SyntaxError: x")], STDLIB)

    assert (ranking.totals.files, ranking.totals.unparsable) == (2, 1)
    assert (ranking.totals.lines, ranking.totals.code, ranking.totals.size) == (10, 9, 100)
    assert ranking.unparsable == (Unparsable("/a/c.py", "SyntaxError: x"),)


@pytest.mark.parametrize(
    ("path", "package", "name"),
    [
        (f"{STDLIB}/os.py", "standard library", "os.py"),
        (f"{STDLIB}/asyncio/tasks.py", "standard library", "asyncio/tasks.py"),
        (f"{SITE}/six.py", "six", "six.py"),
        (f"{SITE}/django/apps/config.py", "django", "django/apps/config.py"),
        (f"{STDLIB}/site-packages/pip/main.py", "pip", "pip/main.py"),
        ("/home/me/project/web/views.py", "web", "web/views.py"),
    ],
)
def test_a_file_is_named_from_the_library_that_holds_it(path, package, name):
    ranking = rank_files([measure(path), measure("/home/me/project/setup.py")], STDLIB)

    row = next(row for row in ranking.files if row.path == path)
    assert (row.package, row.name) == (package, name)


def test_packages_add_their_files_up():
    ranking = rank_files(
        [
            measure(f"{SITE}/a/x.py", lines=5, complexity=3),
            measure(f"{SITE}/a/y.py", lines=6, complexity=4),
            measure(f"{SITE}/b.py", lines=100, complexity=1),
        ],
        STDLIB,
    )

    assert ranking.packages == (
        PackageRow("a", files=2, lines=11, functions=2, complexity=7),
        PackageRow("b", files=1, lines=100, functions=1, complexity=1),
    )


def test_files_are_kept_that_lead_by_any_figure():
    common = [measure(f"{SITE}/c/{n:03}.py", complexity=50, lines=50) for n in range(LEADERS)]
    long = measure(f"{SITE}/long.py", complexity=0, lines=999)
    hard = measure(f"{SITE}/hard.py", complexity=0, worst=99)
    dull = measure(f"{SITE}/dull.py", complexity=0, lines=1, functions=0, worst=0)

    ranking = rank_files([dull, long, *common, hard], STDLIB)

    names = [row.name for row in ranking.files]
    assert names == [*(f"c/{n:03}.py" for n in range(LEADERS)), "hard.py", "long.py"]


def test_imports_are_ranked_by_the_files_that_have_them():
    ranking = rank_files(
        [
            measure("/a/b.py", imports=("os", "sys")),
            measure("/a/c.py", imports=("ast", "sys")),
        ],
        STDLIB,
    )

    assert ranking.imports == (ImportRow("sys", 2), ImportRow("ast", 1), ImportRow("os", 1))


def test_nothing_at_all_can_be_ranked():
    assert rank_files([], STDLIB).totals.files == 0


@pytest.mark.parametrize(
    "value",
    [
        measure("/a/b.py", imports=("os",)),
        Measure("/a/e.py", 0, 0, 0, 0, 0, 0, worst=None, imports=()),
        Unparsable("/a/c.py", "SyntaxError: x"),
    ],
)
def test_a_measure_travels_as_json_without_loss(value):
    record = measure_record(value)

    assert json.loads(json.dumps(record)) == record
    assert read_measure(record) == value


def test_a_ranking_travels_as_json_without_loss():
    ranking = rank_files(
        [measure(f"{SITE}/a.py", imports=("os",)), Unparsable("/a/c.py", "SyntaxError: x")], STDLIB
    )
    record = ranking_record(ranking)

    assert json.loads(json.dumps(record)) == record
    assert read_ranking(record) == ranking
