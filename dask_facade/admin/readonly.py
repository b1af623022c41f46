"""Rows that people look at: made by code, moved by the dispatcher, never edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Pages without forms; what can be done about a row is done by actions."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rows are written by code."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are never edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are never deleted beside the dispatcher."""
        return False
