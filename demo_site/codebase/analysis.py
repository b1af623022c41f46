"""What one Python file is made of. Pure: source text in, a frozen measure out."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass

DECISIONS = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
    ast.match_case,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LEAVES = (ast.Name, ast.Constant, ast.expr_context, ast.operator, ast.cmpop)


@dataclass(frozen=True)
class Function:
    """One function or method, with its cyclomatic complexity."""

    name: str
    line: int
    complexity: int


@dataclass(frozen=True)
class Measure:
    """The figures of one file that could be parsed.

    *code* counts the lines that are neither blank nor only a comment, *complexity* is
    the sum over all functions, *worst* the most complex of them (None: there are none),
    *imports* the top-level modules that the file imports by absolute name, sorted.
    """

    path: str
    size: int
    lines: int
    code: int
    functions: int
    classes: int
    complexity: int
    worst: Function | None
    imports: tuple[str, ...]


@dataclass(frozen=True)
class Unparsable:
    """A file that Python cannot read as a program, and why."""

    path: str
    error: str


@dataclass(frozen=True)
class Outline:
    """What the syntax tree of one file holds."""

    functions: tuple[Function, ...]
    classes: int
    imports: frozenset[str]


def measure_source(path: str, source: str, *, size: int) -> Measure:
    """Return the measure of one file's text; *size* is its length on disk in bytes.

    Raises what `ast.parse` raises for text that is no Python program.
    """
    outline = outline_of(parse_silently(source))
    lines = source.split("\n")
    return Measure(
        path=path,
        size=size,
        lines=len(lines) - (lines[-1] == ""),
        code=sum(1 for line in map(str.strip, lines) if line and line[0] != "#"),
        functions=len(outline.functions),
        classes=outline.classes,
        complexity=sum(function.complexity for function in outline.functions),
        worst=max(outline.functions, key=lambda f: (f.complexity, -f.line), default=None),
        imports=tuple(sorted(outline.imports)),
    )


def parse_silently(source: str) -> ast.Module:
    """Parse *source*; its own warnings (invalid escapes and the like) are not ours to show."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def outline_of(tree: ast.Module) -> Outline:
    """Return the functions, classes and imports of a module, nested ones included.

    Walks with a stack of its own, so that depth costs memory and never a RecursionError.
    A decision counts for the innermost function around it; one outside all functions
    counts for none.
    """
    classes = 0
    imports: set[str] = set()
    scores = [0]
    places = [("", 0)]
    stack: list[tuple[ast.AST, int, str]] = [(tree, 0, "")]
    while stack:
        node, owner, prefix = stack.pop()
        scores[owner] += decisions_in(node)
        if isinstance(node, FUNCTIONS):
            owner = len(scores)
            scores.append(1)
            places.append((prefix + node.name, node.lineno))
            prefix = f"{prefix}{node.name}."
        elif isinstance(node, ast.ClassDef):
            classes += 1
            prefix = f"{prefix}{node.name}."
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(imported_by(node))
            continue
        stack.extend(
            (child, owner, prefix)
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, LEAVES)
        )
    functions = (
        Function(name, line, score)
        for (name, line), score in zip(places[1:], scores[1:], strict=True)
    )
    return Outline(tuple(functions), classes, frozenset(imports))


def decisions_in(node: ast.AST) -> int:
    """Return how many ways through its function this node adds."""
    match node:
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case _:
            return int(isinstance(node, DECISIONS))


def imported_by(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return the top-level modules an import names; a relative one stays in its package.

    `__future__` is a directive to the compiler and no import.
    """
    match node:
        case ast.ImportFrom(level=0, module=str(module)):
            names = {module.partition(".")[0]}
        case ast.Import():
            names = {alias.name.partition(".")[0] for alias in node.names}
        case _:
            names = set()
    return names - {"__future__"}
