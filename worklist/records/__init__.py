"""The index of what lies in the PACS, and of the work on it: SQLAlchemy on SQLite (WAL) or PostgreSQL."""

from worklist.records.database import Database
from worklist.records.events import Event, EventKind
from worklist.records.explanations import ExplanationRecords, ReportLoad, StudyFacts
from worklist.records.images import StoredImage
from worklist.records.intake import FeedCursor, IntakeRecords, ReceivedReport
from worklist.records.jobs import Job, JobRecords
from worklist.records.leases import Lease
from worklist.records.lines import ListedStudy
from worklist.records.predictions import PredictionRecords, Upload
from worklist.records.priors import PriorLine, PriorStudy
from worklist.records.readings import ReadingRecords
from worklist.records.received import ReceivedInstance
from worklist.records.reports import FailedImage, ReportSubject, StoredResult
from worklist.records.worklist import ListCounts, Shown, Worklist

__all__ = [
    "Database",
    "Event",
    "EventKind",
    "ExplanationRecords",
    "FailedImage",
    "FeedCursor",
    "IntakeRecords",
    "Job",
    "JobRecords",
    "Lease",
    "ListCounts",
    "ListedStudy",
    "PredictionRecords",
    "PriorLine",
    "PriorStudy",
    "ReadingRecords",
    "ReceivedInstance",
    "ReceivedReport",
    "ReportLoad",
    "ReportSubject",
    "Shown",
    "StoredImage",
    "StoredResult",
    "StudyFacts",
    "Upload",
    "Worklist",
]
