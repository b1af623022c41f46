from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from rest_framework.test import APIClient

from dask_facade import DaskFacade, current
from dask_facade.models import Job
from dask_facade.states import PENDING
from tests.api import tasks  # registers them

JOBS = "/api/jobs/"
ADD = tasks.add.name


@pytest.fixture(autouse=True)
def app() -> Iterator[DaskFacade]:
    """An app on the site's ledger."""
    before = current.app()
    yield DaskFacade("tests")
    current.set_app(before)


@pytest.fixture
def person(db: None) -> Callable[..., User]:
    """Make a user with some of our permissions."""

    def make(name: str, *permissions: str) -> User:
        user = User.objects.create_user(name)
        user.user_permissions.set(
            Permission.objects.filter(
                content_type__app_label="dask_facade", codename__in=permissions
            )
        )
        return user

    return make


@pytest.fixture
def ann(person: Callable[..., User]) -> User:
    return person("ann")


@pytest.fixture
def client_of() -> Callable[[User], APIClient]:
    """Return a client that is logged in."""

    def make(user: User) -> APIClient:
        client = APIClient()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def client(client_of: Callable[[User], APIClient], ann: User) -> APIClient:
    """Ann's client."""
    return client_of(ann)


@pytest.fixture
def job(ann: User) -> Callable[..., Job]:
    """Insert a job of Ann's; *age* is in minutes."""

    def make(id: str, state: str = PENDING, *, age: float = 0, **columns: Any) -> Job:
        return Job.objects.create(
            id=id,
            state=state,
            created=timezone.now() - timedelta(minutes=age),
            **{
                "task": ADD,
                "queue": "celery",
                "payload": b"j[[1],{}]",
                "root_id": id,
                "owner": str(ann.pk),
                **columns,
            },
        )

    return make
