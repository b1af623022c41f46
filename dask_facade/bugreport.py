"""What a report of a bug should say of an installation."""

from __future__ import annotations

import platform
from typing import Any

from dask_facade.masking import masked_setting

_TOLD = ("celery", "dask_facade", "kombu", "billiard", "dask", "distributed", "django")


def bugreport(app: Any) -> str:
    """Return versions, the platform and the app's settings, those that may be secret masked."""
    system = platform.uname()
    lines = [
        "software -> " + " ".join(f"{name}:{_version(name)}" for name in _TOLD),
        f"            py:{platform.python_version()} ({platform.python_implementation()})",
        f"platform -> system:{system.system} {system.release} machine:{system.machine}",
        "settings ->",
        *(
            f"    {name}: {masked_setting(name, value)!r}"
            for name, value in sorted(app.conf.said().items())
        ),
    ]
    return "\n".join(lines)


def _version(name: str) -> str:
    # It is asked for seldom, and loads csv, email and zipfile.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "-"
