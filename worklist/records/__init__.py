"""The index of what lies in the PACS, and of the work on it: SQLAlchemy on SQLite (WAL) or PostgreSQL."""

from worklist.records.addresses import SHARED_UID
from worklist.records.database import Database, is_of_the_database
from worklist.records.events import Event, EventKind
from worklist.records.explanations import ExplanationRecords, ReportLoad, StudyFacts
from worklist.records.failures import FailedWork
from worklist.records.found import FoundReport, FoundReports
from worklist.records.images import StoredImage
from worklist.records.intake import FeedCursor, IntakeRecords, ReceivedReport
from worklist.records.jobs import Job, JobRecords
from worklist.records.leases import Lease, living_processes, name_of_a_claim
from worklist.records.lines import ListedStudy
from worklist.records.predictions import PredictionRecords
from worklist.records.priors import PriorLine, PriorStudy
from worklist.records.readings import ReadingRecords
from worklist.records.rebuilding import RebuildRecords
from worklist.records.received import ReceivedInstance
from worklist.records.reports import FailedImage, ReportSubject, StoredResult
from worklist.records.searches import SearchedStudy, StudySearches
from worklist.records.upload_files import UploadFiles
from worklist.records.worklist import GoneStudy, ListCounts, Shown, Worklist

__all__ = [
    "SHARED_UID",
    "Database",
    "Event",
    "EventKind",
    "ExplanationRecords",
    "FailedImage",
    "FailedWork",
    "FeedCursor",
    "FoundReport",
    "FoundReports",
    "GoneStudy",
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
    "RebuildRecords",
    "ReceivedInstance",
    "ReceivedReport",
    "ReportLoad",
    "ReportSubject",
    "SearchedStudy",
    "Shown",
    "StoredImage",
    "StoredResult",
    "StudyFacts",
    "StudySearches",
    "UploadFiles",
    "Worklist",
    "is_of_the_database",
    "living_processes",
    "name_of_a_claim",
]
