"""A simulation: components at ports, as a configuration says, and the driver that calls them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from dask_facade.pools.component import Component
from dask_facade.pools.config import Section
from dask_facade.pools.exceptions import BadConfig, UnknownName
from dask_facade.pools.journal import FAILED, SUCCEEDED, SimulationLog
from dask_facade.pools.services import Services

DRIVER = "DRIVER"
CODE = "Framework"


class Simulation:
    """The components that *config* describes, each with its directory under SIM_ROOT."""

    def __init__(self, config: Section, platform: Mapping[str, Any] | None = None) -> None:
        self.config = {**(platform or {}), **config}
        self.name = str(_said(config, "SIM_NAME", "the configuration"))
        self.root = Path(_said(config, "SIM_ROOT", "the configuration")).absolute()
        self.log = SimulationLog(self.root / "simulation_log" / f"{self.name}.json")
        self._components: dict[str, Component] = {}
        self._codes: dict[int, str] = {}
        self._services: list[Services] = []
        self._directories: dict[int, Path] = {}

    def run(self) -> None:
        """Run the driver: ``init``, ``step`` and ``finalize``. What it raises passes through."""
        self.root.mkdir(parents=True, exist_ok=True)
        handler = self._log_handler()
        began = time.time()
        self.log.write(CODE, "IPS_START", f"Starting IPS Simulation {self.name}")
        state = FAILED
        try:
            for number, port in enumerate(self._ports(), 1):
                self._components[port] = self._made(port, number)
            driver = self.component(DRIVER)
            for method in ("init", "step", "finalize"):
                self.call(driver, method, 0.0)
            state = SUCCEEDED
        finally:
            for services in self._services:
                services.close()
            took = f"{time.time() - began:.2f}s"
            words = "Simulation Ended" if state == SUCCEEDED else "Simulation Execution Error"
            self.log.write(
                CODE,
                "IPS_END",
                f"{words}, elapsed time = {took}",
                ok=state == SUCCEEDED,
                state=state,
            )
            if handler is not None:
                logging.getLogger("dask_facade.pools").removeHandler(handler)
                handler.close()

    def component(self, port: str) -> Component:
        """Return the component at a port; raise UnknownName."""
        if port not in self._components:
            raise UnknownName("port", port)
        return self._components[port]

    def call(self, component: Component, method: str, *args: Any, **keywords: Any) -> Any:
        """Call a method of a component, in its directory."""
        code = self._codes[id(component)]
        target = f"Target = {code}:{method}({', '.join(map(str, args))})"
        self.log.write(code, "IPS_CALL_BEGIN", target)
        with chdir(self._directories[id(component)]):
            value = getattr(component, method)(*args, **keywords)
        self.log.write(code, "IPS_CALL_END", target)
        return value

    def _ports(self) -> Iterator[str]:
        ports = _said(self.config, "PORTS", "the configuration")
        names = _said(ports, "NAMES", "[PORTS]")
        yield from names if isinstance(names, list) else names.split()

    def _made(self, port: str, number: int) -> Component:
        """Return the component at a port, with a directory and services of its own."""
        ports = self.config["PORTS"]
        said = _said(ports, port, "[PORTS]")
        implementation = str(_said(said, "IMPLEMENTATION", f"[[{port}]]"))
        section = _said(self.config, implementation, "the configuration")
        kind = _class_of(section, implementation)
        words = (section.get("CLASS"), section.get("SUB_CLASS"), kind.__name__)
        code = "_".join(str(each) if each else "" for each in words)
        folder = self.root / "work" / f"{code}_{number}"
        folder.mkdir(parents=True, exist_ok=True)
        services = Services(working_dir=folder, code=code, simulation=self, simulation_log=self.log)
        component = kind(services, section)
        self._services.append(services)
        self._codes[id(component)], self._directories[id(component)] = code, folder
        return component

    def _log_handler(self) -> logging.Handler | None:
        """Return what writes the log of components to LOG_FILE; the caller removes it."""
        name = self.config.get("LOG_FILE")
        if not name:
            return None
        handler = logging.FileHandler(self.root / str(name))
        words = "%(asctime)s %(name)s %(levelname)-8s %(message)s"
        handler.setFormatter(logging.Formatter(words))
        logger = logging.getLogger("dask_facade.pools")
        level = str(self.config.get("LOG_LEVEL") or "WARNING").upper()
        known = logging.getLevelNamesMapping()
        if level not in known:
            raise BadConfig(f"LOG_LEVEL is one of {', '.join(known)}, not {level!r}")
        logger.setLevel(known[level])
        logger.addHandler(handler)
        return handler


def _said(section: Mapping[str, Any], name: str, where: str) -> Any:
    value = section.get(name)
    if not value:
        raise BadConfig(f"{where} does not say {name}")
    return value


def _class_of(section: Mapping[str, Any], implementation: str) -> type[Component]:
    """Return the class of a component: NAME in the file SCRIPT, or in the module MODULE."""
    name = str(_said(section, "NAME", f"[{implementation}]"))
    if section.get("SCRIPT"):
        module = _loaded(Path(section["SCRIPT"]))
    elif section.get("MODULE"):
        module = importlib.import_module(str(section["MODULE"]))
    else:
        raise BadConfig(f"[{implementation}] says neither SCRIPT nor MODULE")
    kind = getattr(module, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Component)):
        raise BadConfig(f"[{implementation}]: {module.__name__} has no component {name!r}")
    return kind


def _loaded(path: Path) -> ModuleType:
    """Return the module in a file; what it imports may stand beside it.

    It is not left in sys.modules, so that its functions travel to workers as they are, not by
    name.
    """
    if not path.is_file():
        raise BadConfig(f"there is no script {path}")
    folder = str(path.parent.absolute())
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(f"_{path.stem}_of_a_simulation", path)
    if spec is None or spec.loader is None:
        raise BadConfig(f"{path} is no Python script")
    module = importlib.util.module_from_spec(spec)
    with _entered(module):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _entered(module: ModuleType) -> Iterator[None]:
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        del sys.modules[module.__name__]
