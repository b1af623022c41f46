"""Finds in a module of a project what it uses of Celery."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from dask_facade.config import new_name
from dask_facade.porting.commands import commands_in
from dask_facade.porting.counterparts import home_of
from dask_facade.porting.names import FOREIGN, Names, chain_of, is_app, names_of
from dask_facade.porting.sources import Source
from dask_facade.porting.strings import named_in
from dask_facade.porting.survey import Survey, stem_of
from dask_facade.porting.uses import Kind, Use

_MAY_USE = re.compile(r"celery|kombu|billiard|dask_facade|apply_async|\.delay|BROKER_", re.I)
_COMMAND = re.compile(r"celery .*(?<= )-")
_CALLS = frozenset({"delay", "delay_on_commit", "apply_async", "apply_async_on_commit"})
_CALLS_OF_TASKS = frozenset({"s", "si", "retry"})  # other libraries have such methods, too
_POOLS = re.compile(r"^\s*(?:import|from)\s+(?:multiprocess|billiard\.pool)", re.M)
_TIMES = frozenset({"eta", "expires"})
_MAKE_AWARE = frozenset({"astimezone", "localize", "make_aware"})
_NO_OPTIONS = frozenset({"args", "kwargs"})
_CONF_METHODS = frozenset({"update", "get", "setdefault", "keys", "values", "items"})
_OF_APPS = {"broker": "broker_url", "backend": "result_backend", "include": "include"}
_TASK_FACTORIES = frozenset({"celery.shared_task", "celery.app.shared_task"})
_TASK_CLASSES = frozenset({"celery.Task", "celery.app.task.Task"})


def may_use(source: Source) -> bool:
    """Tell whether a module can use Celery at all: most of a project do not."""
    return _MAY_USE.search(source.text) is not None


def uses_in(source: Source, known: Survey) -> list[Use]:
    """Return what a module uses of Celery, in the order of its lines."""
    finder = _Finder(source, known)
    finder.visit(source.tree)
    uses = {*finder.uses, *_uses_in_strings(source)}
    return sorted(uses, key=lambda use: (use.line, use.column, use.what))


def _uses_in_strings(source: Source) -> Iterator[Use]:
    for node, value, dotted in named_in(source):
        yield Use(*source.place(node), f'"{value}"', Kind.IMPORT, dotted)
    for each in source.nodes:
        match each:
            case ast.Constant(value=str(text)) if _COMMAND.match(text):
                commands = commands_in(text)
            case ast.List(elts=[ast.Constant(value="celery"), *words]):
                commands = commands_in(" ".join(["celery", *map(_word, words)]))
            case _:
                continue
        for use in commands:
            yield Use(*source.place(each), use.what, use.kind, use.name)


def _word(node: ast.expr) -> str:
    """Return an element of a command line; what is not said there has a name of its own."""
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


class _Finder(ast.NodeVisitor):
    """Walks one module; what it finds is in `uses`."""

    def __init__(self, source: Source, known: Survey) -> None:
        self.uses: list[Use] = []
        self._known = known
        self._module = stem_of(source)
        self._names: Names = names_of(source, known.apps)
        self._source = source
        self._in_function = False

    def _add(
        self, node: ast.expr | ast.stmt | ast.alias | ast.keyword, what: str, kind: Kind, name: str
    ) -> None:
        self.uses.append(Use(*self._source.place(node), what, kind, name))

    # Imports, and what is reached through them

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            # A package of kombu's is judged by what is asked of it.
            if alias.name.partition(".")[0] in FOREIGN and not self._is_asked(alias):
                self._add(alias, alias.name, Kind.IMPORT, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level or module.partition(".")[0] not in FOREIGN:
            return
        for alias in node.names:
            dotted = f"{module}.{alias.name}"
            name = module if alias.name == "*" else dotted
            self._add(alias, dotted, Kind.IMPORT, name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        asked = self._names.of_app(node)
        if asked == "conf" or asked.startswith("conf."):
            setting = asked.split(".")[1:2]
            if setting and setting[0] not in _CONF_METHODS:
                self._add_setting(node, setting[0])
        elif asked:
            self._add(node, f"app.{asked}", Kind.APP, asked)
        elif (dotted := self._names.meaning(node)) and self._is_module(chain_of(node)[0]):
            self._add(node, dotted, Kind.IMPORT, dotted)
        elif isinstance(node.ctx, ast.Store) and chain_of(node)[0] == "settings":
            self._add_constant(node, node.attr)
        if not (asked or self._names.meaning(node)):
            self.generic_visit(node)

    def _is_module(self, name: str) -> bool:
        """Tell whether a name is a module of Celery's, or of what comes with it."""
        dotted = self._names.bound[name]
        if name in self._names.renamed:
            return False
        return dotted in FOREIGN or home_of(dotted) is not None

    def _is_asked(self, alias: ast.alias) -> bool:
        return alias.name.partition(".")[0] == "kombu" and any(
            isinstance(node, ast.Attribute)
            and chain_of(node)[0] == (alias.asname or alias.name.partition(".")[0])
            for node in self._source.nodes
        )

    # Calls

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        method = function.attr if isinstance(function, ast.Attribute) else ""
        if self._makes_tasks(function):
            self._add_keywords(node.keywords, Kind.TASK)
        elif is_app(self._names, function):
            self._add_app(node)
        elif self._names.of_app(function) in {"conf.update", "add_defaults"}:
            self._add_said(node)
        elif self._names.of_app(function) in {"send_task", "signature"}:
            self._add_options(node)
        elif method in _CALLS or (method in _CALLS_OF_TASKS and self._has_tasks()):
            self._add_call(node, method)
        elif chain_of(function)[0] == "override_settings" or method == "override_settings":
            self._add_constants(node.keywords)
        self.generic_visit(node)

    def _makes_tasks(self, function: ast.expr) -> bool:
        if self._names.of_app(function) == "task":
            return True
        return self._names.meaning(function) in _TASK_FACTORIES

    def _has_tasks(self) -> bool:
        return bool(self._names.bound or self._names.apps)

    def _add_call(self, node: ast.Call, method: str) -> None:
        if method == "apply_async" and not self._has_tasks() and _POOLS.search(self._source.text):
            return
        function = node.func
        end = self._source.span(function)[1]
        start = self._source.line_start(end)
        line = function.end_lineno or function.lineno
        column = end - len(method) - start + 1
        self.uses.append(Use(line, column, f".{method}()", Kind.CALL, method))
        if method == "retry":
            self._add_keywords(node.keywords, Kind.RETRY)
        elif method.startswith("apply_async"):
            self._add_options(node)

    def _add_options(self, node: ast.Call) -> None:
        naive = [each for each in node.keywords if each.arg in _TIMES and _is_naive(each.value)]
        for keyword in naive:
            self._add(keyword, f"{keyword.arg} without a zone", Kind.OPTION, "naive_eta")
        self._add_keywords([each for each in node.keywords if each not in naive], Kind.OPTION)

    def _add_keywords(self, keywords: Iterable[ast.keyword], kind: Kind) -> None:
        for keyword in keywords:
            if keyword.arg and keyword.arg not in _NO_OPTIONS:
                said = f"{keyword.arg}={'False' if _is_false(keyword.value) else ''}"
                self._add(keyword, said, kind, said.rstrip("="))

    # Tasks that are classes

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if any(self._is_task_class(base) for base in node.bases):
            for name, target in _assigned(node.body):
                self._add(target, f"{node.name}.{name}", Kind.TASK, name)
        before = self._module
        if node.name in self._known.config_modules:  # config_from_object(Config)
            self._module = node.name
        self.generic_visit(node)
        self._module = before

    def _is_task_class(self, base: ast.expr) -> bool:
        return self._names.of_app(base) == "Task" or self._names.meaning(base) in _TASK_CLASSES

    # Settings

    def visit_Assign(self, node: ast.Assign) -> None:
        self._add_assigned(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._add_assigned(node)

    def _add_assigned(self, node: ast.Assign | ast.AnnAssign) -> None:
        if not self._in_function:
            for name, target in _assigned([node]):
                self._add_constant(target, name)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        before, self._in_function = self._in_function, True
        self.generic_visit(node)
        self._in_function = before

    def visit_Subscript(self, node: ast.Subscript) -> None:
        match node:
            case ast.Subscript(slice=ast.Constant(value=str(name)) as key):
                if self._names.of_app(node.value) == "conf":
                    self._add_setting(key, name)
        self.generic_visit(node)

    def _add_app(self, node: ast.Call) -> None:
        for keyword in node.keywords:
            if keyword.arg in _OF_APPS:
                self._add_setting(keyword, _OF_APPS[keyword.arg])

    def _add_said(self, node: ast.Call) -> None:
        for keyword in node.keywords:
            if keyword.arg:
                self._add_setting(keyword, keyword.arg)
        for argument in node.args:
            for key in argument.keys if isinstance(argument, ast.Dict) else ():
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    self._add_setting(key, key.value)

    def _add_constants(self, keywords: Iterable[ast.keyword]) -> None:
        for keyword in keywords:
            self._add_constant(keyword, keyword.arg or "")

    def _add_constant(self, node: ast.expr | ast.keyword, name: str) -> None:
        if setting := self._known.setting(name, self._module):
            self._add(node, name, Kind.SETTING, setting)

    def _add_setting(self, node: ast.expr | ast.keyword, name: str) -> None:
        self._add(node, f"conf.{name}", Kind.SETTING, new_name(name))


def _assigned(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        match node:
            case ast.Assign(targets=targets):
                pass
            case ast.AnnAssign(target=target):
                targets = [target]
            case _:
                continue
        yield from ((each.id, each) for each in targets if isinstance(each, ast.Name))


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


def _is_naive(value: ast.expr) -> bool:
    """Tell whether a time surely has no zone: ``datetime.now()``, ``datetime.utcnow()``."""
    naive = aware = False
    for node in ast.walk(value):
        match node:
            case ast.Call(func=ast.Attribute(value=of, attr="now" | "utcnow" | "today"), args=[]):
                root, rest = chain_of(of)
                naive |= (root, *rest)[-1] == "datetime"
            case ast.Attribute(attr=name) | ast.Name(id=name) if name in _MAKE_AWARE:
                aware = True
    return naive and not aware
