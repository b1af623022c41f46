"""An account for the visitor of the demo's dashboard."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password


@dataclass(frozen=True)
class Login:
    """What the admin's login page asks for."""

    name: str
    password: str


def fresh_login() -> Login:
    """Return a superuser's login with a new password, kept nowhere but in this return value."""
    login = Login("demo", secrets.token_urlsafe(9))
    get_user_model().objects.update_or_create(
        username=login.name,
        defaults={
            "is_active": True,
            "is_staff": True,
            "is_superuser": True,
            "password": make_password(login.password),
        },
    )
    return login
