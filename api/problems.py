"""Errors as problem details (RFC 9457), with a code and a list of what is wrong where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from dask_facade.exceptions import (
    DuplicateTaskId,
    InvalidTaskId,
    LedgerError,
    PayloadTooLarge,
)

MEDIA_TYPE = "application/problem+json"


class TaskNotFound(exceptions.APIException):
    """No task of this name may be called over HTTP; whether there is one is not told."""

    status_code = HTTPStatus.NOT_FOUND
    default_code = "task_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no task {name!r} to be called here.")


class WrongArguments(exceptions.APIException):
    """The task's function cannot be called with these arguments."""

    status_code = HTTPStatus.BAD_REQUEST
    default_code = "wrong_arguments"


class TooLarge(exceptions.APIException):
    """The body, or what it says, is larger than is taken."""

    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class TooDeep(exceptions.ParseError):
    """The body's lists and objects are nested too deep."""

    default_code = "too_deep"


class Duplicate(exceptions.APIException):
    """Another job has the id."""

    status_code = HTTPStatus.CONFLICT
    default_code = "duplicate_task_id"


class Finished(exceptions.APIException):
    """The job has ended: it is too late."""

    status_code = HTTPStatus.CONFLICT
    default_code = "job_finished"
    default_detail = "The job has ended."


class Failed(exceptions.APIException):
    """The job ended without a result."""

    status_code = HTTPStatus.FAILED_DEPENDENCY
    default_code = "job_failed"


class Unavailable(exceptions.APIException):
    """The jobs' table cannot be reached."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "ledger_unavailable"
    default_detail = "The jobs' table cannot be reached now."
    wait = 5  # seconds


def answer_problem(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Return the problem that *error* is; None for one that is a bug."""
    known = _known(error)
    response = exception_handler(known, dict(context))
    if response is None:
        return None
    status = HTTPStatus(response.status_code)
    found = list(_errors(known))
    response.data = {
        "title": status.phrase,
        "status": status.value,
        "code": _code(known),
        "detail": found[0]["detail"] if len(found) == 1 else "Several things are wrong.",
        "errors": found if isinstance(known, exceptions.ValidationError) else [],
        **getattr(known, "more", {}),
    }
    return response


def _known(error: Exception) -> Exception:
    """Return *error* as one that has a status, where it has."""
    match error:
        case Http404():
            return exceptions.NotFound()
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case PayloadTooLarge() | RequestDataTooBig():
            return TooLarge(str(error))
        case DuplicateTaskId():
            return Duplicate(str(error))
        case InvalidTaskId():
            return exceptions.ValidationError({"options": {"task_id": [str(error)]}})
        case LedgerError() | OperationalError() | InterfaceError():
            return Unavailable()
    return error


def _code(error: Exception) -> str:
    if isinstance(error, exceptions.ValidationError):
        return str(error.default_code)
    detail = getattr(error, "detail", None)
    return str(getattr(detail, "code", "error"))


def _errors(error: Exception) -> Iterator[dict[str, str]]:
    details = getattr(error, "detail", None)
    for pointer, detail in _leaves(details, ""):
        yield {"pointer": pointer, "detail": str(detail), "code": str(detail.code)}


def _leaves(details: Any, pointer: str) -> Iterator[tuple[str, exceptions.ErrorDetail]]:
    """Yield what is wrong with the JSON Pointer to where it is."""
    match details:
        case exceptions.ErrorDetail():
            yield pointer, details
        case list():
            for each in details:
                yield from _leaves(each, pointer)
        case dict():
            for name, each in details.items():
                here = "" if name == "non_field_errors" else f"/{_escaped(str(name))}"
                yield from _leaves(each, pointer + here)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
