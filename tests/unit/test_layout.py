"""LAYOUT.md as tests: floors, the Django boundary, broad excepts, state names."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "dask_facade"

# A module is named without the package; 'admin.*' is the package admin with all that it holds.
# Within floor 2, and only there, a module may also import those to its left.
FLOORS: dict[int, tuple[str, ...]] = {
    0: ("foreign", "states", "exceptions", "ids", "inert", "times"),
    1: ("compat", "masking", "messages", "packing", "serialization", "current", "loops", "signals"),
    2: (
        "named",
        "named.statuses",
        "named.standing",
        "elsewhere",
        "jobs",
        "reading",
        "dependencies",
        "retry",
        "schedules.cronspec",
        "schedules.interval",
        "schedules.cron",
        "schedules.sun",
        "schedules",
        "config",
        "annotations",
        "registry",
        "forms",
        "lazy",
        "stamps",
        "signatures",
        "autoretry",
        "groups",
        "chords",
        "steps",
        "chains",
        "maps",
        "stamping",
        "canvas",
        "routes",
        "options",
        "endings",
        "submitter",
        "calls",
        "errbacks",
        "plan",
        "heap",
        "backlog",
        "limits",
        "ready",
        "waiters",
        "verdicts",
        "withdrawals",
        "events",
        "windows",
        "fleet",
        "roster",
        "settling",
        "doubts",
        "orphans",
        "broker",
    ),
    3: ("line",),
    4: (
        "worker",
        "worker.arguments",
        "worker.channel",
        "worker.child",
        "worker.commands",
        "worker.context",
        "worker.coroutines",
        "worker.data",
        "worker.departure",
        "worker.endings",
        "worker.execution",
        "worker.isolation",
        "worker.node",
        "worker.pipe",
        "worker.preload",
        "worker.runner",
        "worker.serving",
        "worker.slots",
        "worker.standin",
        "worker.state",
        "cluster",
        "cluster.connection",
        "cluster.joining",
        "cluster.own",
        "cluster.local",
        "cluster.deployed",
        "cluster.placement",
        "cluster.futures",
        "cluster.neighbours",
        "cluster.followers",
        "cluster.remote",
    ),
    5: (
        "ledger",
        "ledger.store",
        "ledger.memory",
        "ledger.calls",
        "ledger.clock",
        "ledger.consequences",
        "ledger.desk",
        "ledger.ends",
        "ledger.inputs",
        "ledger.memory_desk",
        "ledger.memory_consequences",
        "ledger.memory_moves",
        "ledger.postgresql",
        "ledger.rows",
        "ledger.spawns",
        "ledger.session",
        "ledger.sql",
        "ledger.sqlite",
    ),
    6: (
        "dispatcher",
        "dispatcher.client",
        "dispatcher.dialling",
        "dispatcher.service",
        "dispatcher.commits",
        "dispatcher.inquiries",
        "dispatcher.questions",
        "dispatcher.reader",
        "dispatcher.releasing",
        "dispatcher.revocations",
        "dispatcher.requests",
        "dispatcher.scaling",
        "dispatcher.stamped",
        "dispatcher.sweep",
        "dispatcher.switchboard",
        "dispatcher.leader",
        "dispatcher.writer",
        "dispatcher.adoption",
        "dispatcher.recovery",
        "dispatcher.beat",
        "dispatcher.listener",
        "beat",
        "entries",
        "persistence",
        "scheduler",
        "dispatcher.pruning",
        "attempts",
        "bindings",
        "modelled",
        "task_base",
        "task",
        "making",
        "builtin",
        "backend",
        "eager",
        "publishing",
        "result",
        "async_result",
        "eager_result",
        "group_result",
        "open_members",
        "result_base",
        "result_set",
        "waiting",
        "control",
        "inspecting",
        "descent",
        "graphs",
        "job_futures",
        "coordination",
        "pubsub",
        "named.clusters",
        "named.work",
    ),
    7: (
        "app",
        "amqp",
        "bugreport",
        "connection",
        "loader",
        "logs",
        "submitting",
        "pools",
        "pools.cluster",
        "pools.component",
        "pools.config",
        "pools.ensemble",
        "pools.exceptions",
        "pools.journal",
        "pools.ledgers",
        "pools.machine",
        "pools.host",
        "pools.inside",
        "pools.plugins",
        "pools.pool",
        "pools.staff",
        "pools.processes",
        "pools.running",
        "pools.services",
        "pools.shape",
        "pools.simulation",
        "pools.slots",
        "pools.staff",
        "pools.tally",
        "pools.task",
    ),
    8: (
        "conf",
        "models",
        "migrations.*",
        "named.executing",
        "named.holding",
        "named.models",
        "named.reading",
        "named.resubmitting",
        "named.rows",
        "named.schedulers",
        "named.shares",
        "named.steering",
    ),
    9: (
        "ledger.connections",
        "ledger.inserting",
        "ledger.orm",
        "admin.*",
        "checks",
        "management.*",
        "pages",
        "routers",
        "job_manager",
        "jobs_table",
        "schedulers",
        "named.actions",
        "named.rendering",
        "named.urls",
        "named.views",
        "templatetags.*",
    ),
    10: (
        "apps",
        "api.*",
        "celery.*",
        "commands.*",
        "contrib.*",
        "pools.__main__",
        "port",
        "porting.*",
        "utils.*",
    ),
    11: ("__init__", "__main__"),
}
ORDERED_FLOOR = 2
# Modules of one floor also import each other within one sub-package. Besides, the first of these
# pairs (a module, or a package with all that it holds) may import the second. A migration names
# the fields that are defined beside the models.
SAME_FLOOR = {
    ("admin", "pages"),
    ("admin", "jobs_table"),
    ("admin", "named"),
    ("cluster.local", "worker.preload"),
    ("jobs_table", "named"),
    ("models", "named"),
    ("named", "builtin"),
    ("named", "conf"),
    ("named", "graphs"),
    ("named", "job_futures"),
    ("named", "jobs_table"),
    ("named", "result"),
    ("templatetags", "jobs_table"),
    ("templatetags", "named"),
    ("cluster.placement", "worker.runner"),  # what it places
    ("cluster.followers", "worker"),  # they run on workers
    ("current", "messages"),
    ("packing", "messages"),
    ("migrations", "models"),
    ("backend", "control"),
    ("backend", "result"),
    ("backend", "group_result"),
    ("backend", "waiting"),
    ("beat", "dispatcher.listener"),
    ("beat", "entries"),
    ("beat", "persistence"),
    ("beat", "scheduler"),
    ("dispatcher.beat", "beat"),
    ("persistence", "entries"),
    ("persistence", "scheduler"),
    ("scheduler", "entries"),
    ("app", "amqp"),
    ("app", "bugreport"),
    ("app", "connection"),
    ("app", "loader"),
    ("app", "logs"),
    ("app", "submitting"),
    ("contrib", "celery"),
    ("exceptions", "foreign"),
    ("pools", "app"),
    ("port", "porting"),
    ("porting", "commands.elsewhere"),
    ("builtin", "making"),
    ("making", "bindings"),
    ("making", "modelled"),
    ("making", "task"),
    ("task", "attempts"),
    ("task", "bindings"),
    ("task", "task_base"),
    ("task_base", "bindings"),
    ("worker", "cluster.futures"),  # what a job is called on the cluster
    ("worker", "cluster.remote"),  # what it keeps there
    ("worker.data", "cluster.connection"),  # how it is told that a cluster is away
    ("async_result", "control"),
    ("control", "inspecting"),
    ("async_result", "descent"),
    ("async_result", "job_futures"),
    ("async_result", "result_base"),
    ("async_result", "waiting"),
    ("descent", "result_base"),
    ("eager_result", "async_result"),
    ("eager_result", "waiting"),
    ("result", "async_result"),
    ("result", "eager_result"),
    ("result", "group_result"),
    ("result", "result_base"),
    ("result", "result_set"),
    ("result", "waiting"),
    ("result_base", "control"),
    ("result_base", "waiting"),
    ("coordination", "job_futures"),
    ("pubsub", "coordination"),
    ("graphs", "job_futures"),
    ("group_result", "job_futures"),
    ("group_result", "result_base"),
    ("group_result", "result_set"),
    ("group_result", "waiting"),
    ("open_members", "result_base"),
    ("result_set", "open_members"),
    ("result_set", "result_base"),
    ("result_set", "waiting"),
}
# Takes what other packages call an error, where they are installed.
FOREIGN = ("foreign",)
# A thin command may reach for anything.
FREE = ("management",)

DJANGO = {"django", "rest_framework"}
DJANGO_FLOORS = {8, 9, 10}
DJANGO_INSIDE_FUNCTIONS = ("worker",)
NEVER_DJANGO = ("compat", "utils")

# module or package -> top-level imports that it must do without
FORBIDDEN: dict[str, set[str]] = {
    "messages": {"dask", "distributed"},
    "jobs": {"dask", "distributed"},
    "broker": {"asyncio", "dask", "distributed", "time"},
    "models": {"dask", "distributed"},
    "port": {"celery", "dask", "distributed", "django"},
    "porting": {"celery", "dask", "distributed", "django"},
    "admin": {"cloudpickle", "dask", "distributed", "pickle"},
    "api": {"cloudpickle", "dask", "distributed", "pickle"},
}
PICKLES = {"cloudpickle", "pickle"}
MAY_PICKLE = {
    "celery.utils.serialization",
    "contrib.testing.beginning",
    "serialization",
}  # a test's own tasks; all else

# Stored bytes may be a pickle, which is code: who serves others only passes them on, or shows what
# was made of them before.
REBUILDERS = {
    f"{PACKAGE}.{name}"
    for name in (
        "reading.error_of",
        "reading.message_of",
        "reading.value_of",
        "serialization.load_arguments",
        "serialization.load_exception",
        "serialization.loads",
    )
}
NEVER_REBUILD = (
    "admin",
    "api",
    "beat",
    "broker",
    "dispatcher",
    "entries",
    "ledger",
    "pages",
    "persistence",
    "scheduler",
)
REBUILD_JSON = {"api.serializers"}  # after a look at the form

# Around code that is not ours, and in the outermost loop of a service: nowhere else.
BROAD_EXCEPTS = {
    "contrib.testing.beginning",
    "worker.commands",
    "cluster.followers",
    "cluster.placement",
    "commands.finding",  # what a project's modules raise as they are imported
    "dispatcher.beat",
    "dispatcher.dialling",
    "dispatcher.reader",
    "registry",
    "result_base",
    "persistence",
    "pools.cluster",  # a plugin of the user's, and what ends the thread
    "scheduler",
    "serialization",
    "signals",
    "modelled",  # a model's own validators and serializers
    "named.actions",  # what a project asks about a job
    "worker.coroutines",  # what a coroutine is to be told of
    "worker.execution",
    "worker.preload",
}

STATE_NAMES = {
    "PENDING",
    "RECEIVED",
    "STARTED",
    "SUCCESS",
    "FAILURE",
    "REVOKED",
    "REJECTED",
    "RETRY",
    "IGNORED",
}
MAY_QUOTE_STATES = ("states", "ledger.orm", "ledger.sql", "ledger.sqlite", "migrations")


@dataclass(frozen=True, kw_only=True)
class Import:
    line: int
    name: str
    in_function: bool


@dataclass(frozen=True, kw_only=True)
class Module:
    name: str
    path: Path
    is_package: bool
    tree: ast.Module

    def where(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"

    def is_in(self, packages: tuple[str, ...]) -> bool:
        return any(is_in(self.name, package) for package in packages)

    def imports(self) -> Iterator[Import]:
        """Yield every import, also those in functions and under TYPE_CHECKING."""
        nested = {
            child
            for function in ast.walk(self.tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for child in ast.walk(function)
        }
        for node in ast.walk(self.tree):
            for name in self.imported_names(node):
                yield Import(line=node.lineno, name=name, in_function=node in nested)

    def imported_names(self, node: ast.AST) -> list[str]:
        match node:
            case ast.Import(names=names):
                return [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                source = ".".join(filter(None, [self.package(level), module]))
                return [f"{source}.{alias.name}" for alias in names]
        return []

    def package(self, level: int) -> str:
        """The package that a relative import of this level starts from; '' for an absolute one."""
        if level == 0:
            return ""
        parts = [PACKAGE, *([] if self.name == "__init__" else self.name.split("."))]
        up = level - 1 if self.is_package else level
        return ".".join(parts[: len(parts) - up])

    def own_imports(self) -> Iterator[tuple[Import, str]]:
        """Yield the imports of this package's modules, with the module that each one loads."""
        for found in self.imports():
            if found.name.split(".")[0] == PACKAGE:
                yield found, loaded_module(found.name)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


@cache
def modules() -> dict[str, Module]:
    paths = [
        Path(folder) / file
        # api is a symlink, which Path.rglob does not follow.
        for folder, _, files in os.walk(ROOT / PACKAGE, followlinks=True)
        for file in sorted(files)
        if file.endswith(".py")
    ]
    return {
        module_name(path): Module(
            name=module_name(path),
            path=path,
            is_package=path.name == "__init__.py",
            tree=ast.parse(path.read_text(), filename=str(path)),
        )
        for path in paths
    }


def loaded_module(dotted: str) -> str:
    """The module behind an imported name: `dask_facade.jobs.Job` is in `jobs`."""
    parts = dotted.split(".")[1:]
    while parts and ".".join(parts) not in modules() and floor_of(".".join(parts)) is None:
        parts.pop()
    return ".".join(parts) or "__init__"


def floor_of(name: str) -> int | None:
    for floor, names in FLOORS.items():
        for known in names:
            package = known.removesuffix(".*")
            if name == package or (package != known and is_in(name, package)):
                return floor
    return None


def may_import(importer: str, imported: str) -> bool:
    above, below = floor_of(importer), floor_of(imported)
    if above is None or below is None:  # told by the test of the table
        return True
    if below != above:
        return below < above
    if above == ORDERED_FLOOR:
        return FLOORS[above].index(imported) <= FLOORS[above].index(importer)
    if importer.split(".")[0] == imported.split(".")[0]:
        return True
    return any(is_in(importer, one) and is_in(imported, other) for one, other in SAME_FLOOR)


def is_broad(node: ast.AST) -> bool:
    match node:
        case ast.ExceptHandler(body=[*_, ast.Raise(exc=None)]):
            return False  # it cleans up, and swallows nothing
        case ast.ExceptHandler(type=None):
            return True
        case ast.ExceptHandler(type=caught):
            names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
        case ast.Call(func=ast.Name("suppress") | ast.Attribute(attr="suppress"), args=names):
            pass
        case _:
            return False
    return any(
        isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"} for name in names
    )


def broad_excepts(module: Module) -> list[str]:
    return [module.where(node.lineno) for node in ast.walk(module.tree) if is_broad(node)]


def exported_names(tree: ast.Module) -> set[ast.AST]:
    """The strings of `__all__`: names, whatever they spell."""
    return {
        node
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign)
        and any(isinstance(name, ast.Name) and name.id == "__all__" for name in ast.walk(statement))
        for node in ast.walk(statement)
    }


def test_every_module_stands_on_a_floor():
    homeless = [name for name in modules() if floor_of(name) is None]

    assert not homeless, f"name the floor of {homeless} in LAYOUT.md and in FLOORS of this test"


def test_a_module_imports_only_the_floors_below_its_own():
    wrong = [
        f"{module.where(found.line)}: {module.name} (floor {floor_of(module.name)})"
        f" imports {imported} (floor {floor_of(imported)})"
        for module in modules().values()
        if not module.is_in(FREE)
        for found, imported in module.own_imports()
        if not may_import(module.name, imported)
    ]

    assert not wrong, "\n".join(dict.fromkeys(wrong))  # one line for an import of many names


def test_floor_0_needs_the_standard_library_only():
    wrong = [
        f"{modules()[name].where(found.line)}: {found.name}"
        for name in FLOORS[0]
        if name in modules()
        for found in modules()[name].imports()
        if found.name.split(".")[0] not in {*sys.stdlib_module_names, PACKAGE}
        if name not in FOREIGN
    ]

    assert not wrong, "\n".join(wrong)


def test_only_the_upper_floors_import_django():
    wrong = [
        f"{module.where(found.line)}: {found.name}"
        for module in modules().values()
        for found in module.imports()
        if found.name.split(".")[0] in DJANGO
        if floor_of(module.name) not in DJANGO_FLOORS or module.is_in(NEVER_DJANGO)
        if not (module.is_in(DJANGO_INSIDE_FUNCTIONS) and found.in_function)
    ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_a_module_does_without_what_it_must_not_know(package):
    wrong = [
        f"{module.where(found.line)}: {found.name}"
        for module in modules().values()
        if module.is_in((package,))
        for found in module.imports()
        if found.name.split(".")[0] in FORBIDDEN[package]
    ]

    assert not wrong, "\n".join(wrong)


def test_only_serialization_pickles():
    wrong = [
        f"{module.where(found.line)}: {found.name}"
        for module in modules().values()
        if module.name not in MAY_PICKLE
        for found in module.imports()
        if found.name.split(".")[0] in PICKLES
    ]

    assert not wrong, "\n".join(wrong)


def test_what_users_stored_is_not_rebuilt_by_dispatcher_admin_or_api():
    wrong = [
        f"{module.where(found.line)}: {found.name}"
        for module in modules().values()
        if module.is_in(NEVER_REBUILD) and module.name not in REBUILD_JSON
        for found in module.imports()
        if found.name in REBUILDERS
    ]

    assert not wrong, "\n".join(wrong)


def test_a_broad_except_stands_only_where_it_is_listed():
    wrong = [
        place
        for module in modules().values()
        if module.name not in BROAD_EXCEPTS
        for place in broad_excepts(module)
    ]

    assert not wrong, f"name the exception, or say why in BROAD_EXCEPTS: {wrong}"


def test_no_listed_broad_except_is_out_of_date():
    gone = [
        name
        for name in sorted(BROAD_EXCEPTS & modules().keys())
        if not broad_excepts(modules()[name])
    ]

    assert not gone, f"no broad except there any more, take it off BROAD_EXCEPTS: {gone}"


def test_no_state_name_is_in_quotes():
    wrong = [
        f"{module.where(node.lineno)}: {node.value!r}"
        for module in modules().values()
        if not module.is_in(MAY_QUOTE_STATES)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value in STATE_NAMES and node not in exported_names(module.tree)
    ]

    assert not wrong, "take it from states:\n" + "\n".join(wrong)


def test_nobody_imports_a_bare_api():
    sources = [
        path
        for folder in (PACKAGE, "api", "tests", "demo_site")
        for path in (ROOT / folder).rglob("*.py")
    ]

    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(is_api(alias.name) for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.level == 0 and is_api(node.module or ""))
    ]

    assert not wrong, f"import dask_facade.api instead: {wrong}"


def is_api(name: str) -> bool:
    return name.split(".")[0] == "api"


def test_the_api_is_a_link_into_the_package():
    assert os.readlink(ROOT / PACKAGE / "api") == "../api"


def test_no_module_below_django_loads_django():
    names = [
        name
        for name in modules()
        if (floor_of(name) or 0) < min(DJANGO_FLOORS) or name == "__init__"
    ]
    imports = [PACKAGE if name == "__init__" else f"{PACKAGE}.{name}" for name in sorted(names)]
    script = (
        "import importlib, sys\n"
        f"for name in {imports}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = sorted({DJANGO} & sys.modules.keys())\n"
        "    if loaded: sys.exit(f'import {name} loads {loaded}')\n"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
