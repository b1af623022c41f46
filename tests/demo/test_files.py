from __future__ import annotations

import pytest
from codebase.analysis import Measure, Unparsable
from codebase.files import library_directories, measure_file, python_files


def test_every_python_file_is_found_once_and_sorted(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("z.py", "b/a.py", "b/c/a.py", "b/a.txt", "b/a.pyc"):
        (tmp_path / name).write_text("")
    (tmp_path / "link.py").symlink_to(tmp_path / "z.py")

    found = python_files([tmp_path / "b", tmp_path, tmp_path / "b" / ".."])

    assert found == [str(tmp_path.resolve() / name) for name in ("b/a.py", "b/c/a.py", "z.py")]


def test_a_directory_that_is_not_there_is_empty(tmp_path):
    assert python_files([tmp_path / "nowhere"]) == []


def test_the_libraries_of_this_interpreter_are_found():
    found = python_files(library_directories())

    assert any(path.endswith("/asyncio/tasks.py") for path in found)
    assert any(path.endswith("/site-packages/django/apps/registry.py") for path in found)
    assert len(found) == len(set(found)) > 2000


def test_a_file_is_read_in_the_encoding_that_it_names(tmp_path):
    path = tmp_path / "latin.py"
    path.write_bytes("# coding: latin-1\nname = 'é'\n".encode("latin-1"))

    measure = measure_file(str(path))

    assert isinstance(measure, Measure)
    assert (measure.lines, measure.code, measure.size) == (2, 1, 29)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"print 'python 2'\n", "SyntaxError: "),
        (b"name = '\xe9'\n", "SyntaxError: "),  # not UTF-8, and no coding cookie
        (b"# coding: utf-8\n" + b"#\n" * 5000 + b"name = '\xe9'\n", "UnicodeDecodeError: "),
        (b"# coding: klingon\n", "SyntaxError: unknown encoding"),
        (b"# coding: hex\n", "LookupError: "),  # a codec, but not one of text
        (b"a = 1\0\n", ""),  # ValueError or SyntaxError, as the version of Python has it
        (b"(" * 5000 + b")" * 5000, ""),
        (b"x" + b".y" * 100_000, ""),
        (b"-" * 100_000 + b"1", ""),
    ],
)
def test_a_file_that_is_no_program_is_reported(tmp_path, content, error):
    path = tmp_path / "bad.py"
    path.write_bytes(content)

    measure = measure_file(str(path))

    assert isinstance(measure, Unparsable)
    assert measure.path == str(path)
    assert measure.error.startswith(error)


def test_a_file_that_is_gone_is_reported(tmp_path):
    measure = measure_file(str(tmp_path / "gone.py"))

    assert isinstance(measure, Unparsable)
    assert measure.error.startswith("FileNotFoundError: ")
