"""The index of what lies in the PACS, and of the work on it: SQLAlchemy on SQLite (WAL) or PostgreSQL."""

from worklist.records.database import Database, ExclusiveLock
from worklist.records.intake import FeedCursor, IntakeRecords, ReceivedInstance
from worklist.records.jobs import Job, JobLimits, JobRecords, StoredResult
from worklist.records.predictions import PredictionRecords, Upload
from worklist.records.reading_list import ListedStudy, ReadingList

__all__ = [
    "Database",
    "ExclusiveLock",
    "FeedCursor",
    "IntakeRecords",
    "Job",
    "JobLimits",
    "JobRecords",
    "ListedStudy",
    "PredictionRecords",
    "ReadingList",
    "ReceivedInstance",
    "StoredResult",
    "Upload",
]
