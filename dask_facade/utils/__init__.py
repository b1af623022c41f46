"""Celery's odds and ends that projects import."""
