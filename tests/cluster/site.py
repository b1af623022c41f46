"""A site that calls jobs from synchronous and asynchronous views."""

from __future__ import annotations

import asyncio
import threading

from django.core.asgi import get_asgi_application
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from dask_facade import AsyncResult
from dask_facade.exceptions import DaskFacadeError
from tests.cluster import tasks


async def delay(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"id": tasks.add.delay(1, 2).id})


async def get(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"value": tasks.add.delay(1, 2).get(timeout=20)})


async def awaited(request: HttpRequest) -> JsonResponse:
    result = await tasks.add.adelay(1, 2)
    return JsonResponse({"id": result.id, "value": await result})


async def aget(request: HttpRequest) -> JsonResponse:
    result = await tasks.fail.adelay("in the view")
    try:
        await result.aget(timeout=20)
    except ValueError as error:
        return JsonResponse({"error": str(error), "state": result.state})
    return JsonResponse({})


async def many(request: HttpRequest) -> JsonResponse:
    results = await asyncio.gather(*(tasks.nap.adelay(0.01) for _ in range(100)))
    before = threading.active_count()
    waiting = [asyncio.ensure_future(result.aget(timeout=30)) for result in results]
    threads = 0
    while not all(each.done() for each in waiting):
        threads = max(threads, threading.active_count() - before)
        await asyncio.sleep(0.002)
    return JsonResponse({"values": [each.result() for each in waiting], "threads": threads})


@transaction.atomic
def rolled_back(request: HttpRequest, job_id: str) -> JsonResponse:
    tasks.add.apply_async((1, 2), task_id=job_id)
    raise RuntimeError("after the call")


@transaction.atomic
def called(request: HttpRequest, job_id: str) -> JsonResponse:
    result = tasks.add.apply_async((1, 2), task_id=job_id)
    return JsonResponse({"state": result.state})


@transaction.atomic
def got_own(request: HttpRequest) -> JsonResponse:
    try:
        tasks.add.delay(1, 2).get(timeout=20)
    except DaskFacadeError as error:
        return JsonResponse({"error": str(error), "runtime": isinstance(error, RuntimeError)})
    return JsonResponse({})


@transaction.atomic
def got_others(request: HttpRequest, job_id: str) -> JsonResponse:
    return JsonResponse({"value": AsyncResult(job_id).get(timeout=20)})


urlpatterns = [
    path("delay/", delay),
    path("get/", get),
    path("awaited/", awaited),
    path("aget/", aget),
    path("many/", many),
    path("rolled-back/<job_id>/", rolled_back),
    path("called/<job_id>/", called),
    path("got-own/", got_own),
    path("got-others/<job_id>/", got_others),
]

application = get_asgi_application()
