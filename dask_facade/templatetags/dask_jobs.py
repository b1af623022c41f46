"""``{% jobs_table %}``: a table of named jobs on any page."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context

from dask_facade.jobs_table import is_column, table_named
from dask_facade.named.rendering import ADMIN, SITE, context_of

register = template.Library()


@register.inclusion_tag("dask_facade/jobs/table.html", takes_context=True)
def jobs_table(context: Context, name: str = "jobs", columns: str = "") -> dict[str, Any]:
    """Show the table of this name, as in ``{% jobs_table "runs" columns="name,status" %}``."""
    return _shown(context, name, columns, "site")


@register.inclusion_tag("dask_facade/jobs/table.html", takes_context=True)
def admin_jobs_table(context: Context, name: str = "jobs") -> dict[str, Any]:
    """Show the table of this name in the admin."""
    return _shown(context, name, "", "admin")


def _shown(context: Context, name: str, columns: str, where: str) -> dict[str, Any]:
    table = table_named(name)
    wanted = [each.strip() for each in columns.split(",") if each.strip()] or table.columns
    for column in wanted:
        if not is_column(column):
            raise template.TemplateSyntaxError(f"jobs have no column {column!r}")
    shown = context_of(table, context["request"], {"site": SITE, "admin": ADMIN}[where], wanted)
    return {**shown, "csrf_token": context.get("csrf_token")}
