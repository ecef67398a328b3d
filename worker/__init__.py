"""Celery: the fast path and the slow path of a study, and uploads; a pipeline each."""
