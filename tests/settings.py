"""Django settings of the test run.

Processes that a test starts inherit DASK_FACADE_TEST_DIR, so with these settings they open
the very databases that the test uses.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from django.core.exceptions import ImproperlyConfigured

RUN_DIR = Path(
    os.environ.setdefault(
        "DASK_FACADE_TEST_DIR",
        str(Path(tempfile.gettempdir()) / f"dask-facade-{secrets.token_hex(4)}"),
    )
)
TEST_DB = os.environ.get("DASK_FACADE_TEST_DB", "sqlite")
# Another name is another database: tests of processes have one that no other test empties.
TEST_NAME = os.environ.get("DASK_FACADE_TEST_NAME", "default")
POSTGRES_URL = os.environ.get(
    "DASK_FACADE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres"
)


def postgres_answers() -> bool:
    try:
        with psycopg.connect(POSTGRES_URL, connect_timeout=2) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def sqlite_database(name: str) -> dict[str, Any]:
    path = str(RUN_DIR / f"{name}.sqlite3")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        "TEST": {"NAME": path},
    }


def postgres_database(name: str) -> dict[str, Any]:
    url = urlsplit(POSTGRES_URL)
    # A database for each run, so that runs side by side on one server do not meet.
    name = f"{RUN_DIR.name}_{name}".replace("-", "_")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": url.hostname or "",
        "PORT": str(url.port or ""),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "NAME": name,
        "TEST": {"NAME": name},
    }


match TEST_DB:
    case "sqlite":
        DATABASES = {"default": sqlite_database(TEST_NAME)}
        if postgres_answers():
            DATABASES["postgres"] = postgres_database(TEST_NAME)
    case "postgres":
        if not postgres_answers():
            raise ImproperlyConfigured(
                "no PostgreSQL server answers: start one, or name another in "
                "DASK_FACADE_TEST_POSTGRES"
            )
        DATABASES = {"default": postgres_database(TEST_NAME)}
    case _:
        raise ImproperlyConfigured(
            f"DASK_FACADE_TEST_DB is 'sqlite' or 'postgres', not {TEST_DB!r}"
        )

ALLOWED_HOSTS = ["*"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "dask_facade",
    "dask_facade.api",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
# The default hasher takes a third of a second for each user that a test makes.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "tests.urls"
SECRET_KEY = "for tests only"
STATIC_URL = "static/"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
USE_TZ = True
