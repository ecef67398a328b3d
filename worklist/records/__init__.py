"""The index of what lies in the PACS, and of the work on it: SQLAlchemy on SQLite (WAL) or PostgreSQL."""

from worklist.records.addresses import SHARED_UID
from worklist.records.audit import AuditRecords, Kept, Verified
from worklist.records.choices import Choice
from worklist.records.choosing import ChoiceRecords, InForce, PlacedStudy, Preview
from worklist.records.database import Database, is_of_the_database
from worklist.records.events import Event, EventKind
from worklist.records.explanations import ExplanationRecords, ReportLoad, StudyFacts
from worklist.records.failures import FailedWork
from worklist.records.feedback import Feedback, Verdict
from worklist.records.found import FoundReport, FoundReports
from worklist.records.images import StoredImage
from worklist.records.intake import FeedCursor, IntakeRecords, ReceivedReport
from worklist.records.jobs import Job, JobRecords
from worklist.records.leases import Lease, living_processes, name_of_a_claim
from worklist.records.lines import Judgement, ListedStudy
from worklist.records.marks import StudyMark, StudyMarks
from worklist.records.measures import Measures, Milestone
from worklist.records.openings import Opening, OpeningRecords
from worklist.records.predictions import PredictionRecords
from worklist.records.priors import PriorLine, PriorStudy
from worklist.records.readings import ReadingRecords
from worklist.records.rebuilding import RebuildRecords
from worklist.records.received import ReceivedInstance
from worklist.records.reports import FailedImage, ReportSubject, StoredResult
from worklist.records.retention import Removed, RetentionRecords
from worklist.records.searches import Matched, SearchedStudy, StudySearches
from worklist.records.sessions import LoginSession, SessionRecords
from worklist.records.subscriptions import SubscriptionRecords
from worklist.records.upload_files import UploadFiles
from worklist.records.workitem_events import WorkitemEvents
from worklist.records.workitem_searches import WorkitemPage, WorkitemSearches
from worklist.records.workitems import WorkitemRecords
from worklist.records.worklist import GoneStudy, ListCounts, Shown, Worklist

__all__ = [
    "SHARED_UID",
    "AuditRecords",
    "Choice",
    "ChoiceRecords",
    "Database",
    "Event",
    "EventKind",
    "ExplanationRecords",
    "FailedImage",
    "FailedWork",
    "FeedCursor",
    "Feedback",
    "FoundReport",
    "FoundReports",
    "GoneStudy",
    "InForce",
    "IntakeRecords",
    "Job",
    "JobRecords",
    "Judgement",
    "Kept",
    "Lease",
    "ListCounts",
    "ListedStudy",
    "LoginSession",
    "Matched",
    "Measures",
    "Milestone",
    "Opening",
    "OpeningRecords",
    "PlacedStudy",
    "PredictionRecords",
    "Preview",
    "PriorLine",
    "PriorStudy",
    "ReadingRecords",
    "RebuildRecords",
    "ReceivedInstance",
    "ReceivedReport",
    "Removed",
    "ReportLoad",
    "ReportSubject",
    "RetentionRecords",
    "SearchedStudy",
    "SessionRecords",
    "Shown",
    "StoredImage",
    "StoredResult",
    "StudyFacts",
    "StudyMark",
    "StudyMarks",
    "StudySearches",
    "SubscriptionRecords",
    "UploadFiles",
    "Verdict",
    "Verified",
    "WorkitemEvents",
    "WorkitemPage",
    "WorkitemRecords",
    "WorkitemSearches",
    "Worklist",
    "is_of_the_database",
    "living_processes",
    "name_of_a_claim",
]
