from __future__ import annotations

import ast
import textwrap

import pytest
from codebase.analysis import Function, measure_source


def measured(source: str):
    source = textwrap.dedent(source)
    return measure_source("some.py", source, size=len(source))


@pytest.mark.parametrize(
    ("body", "complexity"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a: pass\n    elif b: pass\n    else: pass", 3),
        ("return a if b else c", 2),
        ("for a in b: pass", 2),
        ("async for a in b: pass", 2),
        ("while a: pass", 2),
        ("assert a", 2),
        ("with a: pass", 1),
        ("try: pass\n    except A: pass\n    except B: pass\n    finally: pass", 3),
        ("return a and b and c", 3),
        ("return a and b or c", 3),
        ("return [a for a in b if a if c]", 4),
        ("return {a for a in b for c in a}", 3),
        ("match a:\n        case 1: pass\n        case _: pass", 3),
        ("return lambda: a if b else c", 2),  # a lambda is a part of its function
    ],
)
def test_each_decision_adds_one_way_through_its_function(body, complexity):
    assert measured(f"async def f():\n    {body}\n").complexity == complexity


def test_decisions_count_for_the_innermost_function():
    measure = measured(
        """
        def outer():
            if a: pass
            def inner():
                if b: pass
                if c: pass
        """
    )

    assert measure.functions == 2
    assert measure.complexity == 2 + 3
    assert measure.worst == Function("outer.inner", line=4, complexity=3)


def test_decisions_outside_all_functions_count_for_none():
    assert measured("if a: pass\n").complexity == 0


def test_methods_are_named_with_their_classes():
    measure = measured(
        """
        class A:
            class B:
                def method(self): pass
        """
    )

    assert measure.classes == 2
    assert measure.worst == Function("A.B.method", line=4, complexity=1)


def test_of_equally_complex_functions_the_first_is_named():
    measure = measured("def a(): pass\ndef b(): pass\n")

    assert measure.worst == Function("a", line=1, complexity=1)


@pytest.mark.parametrize(
    ("source", "lines", "code"),
    [
        ("", 0, 0),
        ("a = 1", 1, 1),
        ("a = 1\n", 1, 1),
        ("# only a comment\n\n  \na = 1  # and one behind code\n", 4, 1),
        ("a = 1\f\nb = 2\x1c\n", 2, 2),  # these end no line, whatever str.splitlines says
    ],
)
def test_lines_and_lines_of_code_are_counted(source, lines, code):
    measure = measure_source("some.py", source.replace("\x1c", ""), size=0)

    assert (measure.lines, measure.code) == (lines, code)


def test_imports_are_absolute_top_level_modules_each_once():
    measure = measured(
        """
        from __future__ import annotations
        import os.path, sys
        from os import path
        from . import sibling
        from .cousin import thing
        def f():
            import json as j
        """
    )

    assert measure.imports == ("json", "os", "sys")


def test_warnings_of_the_source_are_not_shown(recwarn):
    measured("a = '\\d'\nassert (a, 'always true')\nb = 1 is 1\n")

    assert not recwarn


def test_depth_that_the_parser_takes_is_no_problem():
    measure = measured("a = " + " + ".join(["b if c else d"] * 60) + "\n" + "def f(): pass\n")

    assert measure.functions == 1
    with pytest.raises((SyntaxError, MemoryError, RecursionError)):
        ast.parse("(" * 5000 + ")" * 5000)
