"""Celery: the fast path and the slow path of a study."""
