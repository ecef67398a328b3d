"""Queues and tasks by name: what the gateway hands out and a worker takes up."""

from __future__ import annotations

from worklist.study import JobPath

TASKS = {JobPath.SCORE: "firstread.score_study", JobPath.REPORT: "firstread.report_study"}
"""The task of each path; its queue is named as the path is."""

PREDICT = "firstread.predict"
"""The task that judges an upload."""

PREDICT_QUEUE = JobPath.SCORE
