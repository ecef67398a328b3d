"""The patient's newest earlier frontal chest film and the radiologist's report on it, found in the PACS.

Orthanc is asked along its keys alone, a bounded number of times, so that neither the number of its studies nor a
Patient ID that many people share makes it slow. What lies under the same Patient ID is used where name and birth date
agree too; where they do not, that is said and nothing of it is used. Whatever fails here costs the comparison alone.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import structlog
from pydicom import Dataset
from pydicom.uid import UID, EncapsulatedPDFStorage

from dicom_sr.report_text import is_by_device, report_text
from dicom_sr.source import Source
from imaging.radiograph import Radiograph, read_radiograph
from models import Scorer
from models.context import PriorFilm, StudyContext
from worker.pacs import Pacs, StoredStudy, is_own_series
from worker.pdf_text import text_of_pdf
from worklist.comparison import PriorComparison, PriorReport, compare, day_in_words
from worklist.errors import FirstreadError, ModelUnavailable, PacsUnavailable, UnusableImage
from worklist.finding import Analysis, ImageReference
from worklist.records import ExplanationRecords
from worklist.reports import DocumentHeader, is_document, radiologist_of
from worklist.same_patient import PatientFacts, disagreement
from worklist.scope import HEADER_KEYWORDS, ScopeRules, assess_scope, is_own_manufacturer
from worklist.sight import Sites
from worklist.words import in_a_sentence

log = structlog.get_logger()

_MOST_STUDIES: Final = 300  # under one Patient ID
_STUDIES_LOOKED_AT: Final = 8  # the newest earlier ones
_MOST_FILMS: Final = 4  # that are looked at until one is frontal
_MOST_DOCUMENTS: Final = 4
_MOST_DOCUMENT_BYTES: Final = 8_000_000
_MOST_CHARACTERS: Final = 20_000
_REPORT_MODALITIES: Final = {"SR", "DOC"}
_REPORT_WORDS: Final = ("report", "befund", "bericht", "compte rendu", "informe", "referto", "laudo", "verslag")
_DAY, _TIME = 8, 6  # digits


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """What was found.

    Attributes:
        study_instance_uid: of the earlier study; "" where none is used.
        study_date: of it, YYYYMMDD.
        film: the address of its frontal film ...
        dataset: ... and what gives it, fetched only where somebody looks at it.
        report: what the report is that was read ...
        report_text: ... and its sentences.
        analysis: what the model of the study says of the earlier one; None where it is not known.
        not_compared: why it is not, or what else was not found out or not read.
        clash: why an earlier study is not used.
    """

    study_instance_uid: str = ""
    study_date: str = ""
    film: ImageReference | None = None
    dataset: Callable[[], Dataset] | None = field(default=None, repr=False, compare=False)
    report: PriorReport | None = None
    report_text: str = field(default="", repr=False)
    analysis: Analysis | None = None
    not_compared: str = ""
    clash: str = ""

    def comparison(self, analysis: Analysis) -> PriorComparison:
        """The study beside it.

        Args:
            analysis: of the study.
        """
        return PriorComparison(
            study_instance_uid=self.study_instance_uid,
            study_date=self.study_date,
            film=self.film,
            report=self.report,
            compared=compare(analysis, self.analysis) if self.analysis else (),
            not_compared=self.not_compared,
            clash=self.clash,
        )

    def context(self, analysis: Analysis) -> StudyContext:
        """What an explainer may use of it.

        Args:
            analysis: of the study.
        """
        reports = ((self.report.sop_instance_uid, self.report_text),) if self.report and self.report_text else ()
        film = None
        if self.film and self.dataset is not None:
            dataset = self.dataset

            def decoded() -> Radiograph:
                return read_radiograph(dataset())

            taken = f"{self.study_date[:4]}-{self.study_date[4:6]}-{self.study_date[6:]}"
            film = PriorFilm(radiograph=decoded, source=self.film.sop_instance_uid, taken=taken)
        return StudyContext(prior_reports=reports, prior_film=film, comparison=self.comparison(analysis))


class PriorFinder:
    """Finds priors.

    Args:
        pacs: where they lie.
        records: what is known of them already.
        scope: tells which images are frontal chest films now.
        report_titles: titles of the site's own reports.
        sites: that share the list: of a study of another one nothing is used, since who reads this one may not see it.
        load_scorer: gives the model, for films that it has not judged yet; None where that is too dear on this path.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each
        self,
        pacs: Pacs,
        records: ExplanationRecords,
        *,
        scope: Callable[[], ScopeRules],
        report_titles: frozenset[str] = frozenset(),
        sites: Sites | None = None,
        load_scorer: Callable[[], Scorer] | None = None,
    ) -> None:
        self._pacs = pacs
        self._records = records
        self._scope = scope
        self._report_titles = report_titles
        self._sites = sites or Sites()
        self._load_scorer = load_scorer

    def find(self, study_orthanc_id: str, analysis: Analysis, image: Dataset) -> Prior | None:
        """The newest earlier film of the patient of a study; None where the PACS has none.

        Args:
            study_orthanc_id: Orthanc's identifier of the study.
            analysis: of the study.
            image: the attributes of one of its images.
        """
        started = time.monotonic()
        try:
            prior = self._find(study_orthanc_id, analysis, Source(image))
        except FirstreadError as error:
            log.warning("priors could not be looked up", code=error.code)
            why = error.message if error.code == "too_many_studies" else "the PACS could not be asked"
            return Prior(not_compared=f"earlier studies were not looked up: {why}")
        except Exception as error:  # noqa: BLE001 - whatever lies in a PACS must not cost the report
            log.error("priors could not be looked up", error=type(error).__name__)  # noqa: TRY400 - it may quote
            return Prior(not_compared="earlier studies could not be read: see the worker's log")
        log.info("looked for a prior", ms=round((time.monotonic() - started) * 1000), found=prior is not None)
        return prior

    def _find(self, study_orthanc_id: str, analysis: Analysis, source: Source) -> Prior | None:
        patient = _patient(source)
        if not source.patient_id:
            return None
        fetched, scope = 0, self._scope()
        for study in self._earlier(study_orthanc_id, source):
            known = self._records.analysis(study.orthanc_id, analysis.scorer.sha256)
            for header, dataset in self._films(study, known, scope):
                film = Source(header)
                if why := disagreement(patient, _patient(film)):
                    day = day_in_words(study.tags["StudyDate"])
                    return Prior(clash=f"a study of {day} under the same Patient ID is not used: {why}")
                if known or assess_scope(_header(film), scope) is None:
                    return self._prior(
                        study,
                        film.image_reference(),
                        dataset=dataset,
                        known=known,
                        analysis=analysis,
                        patient=patient,
                    )
                fetched += 1
                if fetched >= _MOST_FILMS:
                    return None
        return None

    def _earlier(self, study_orthanc_id: str, source: Source) -> list[StoredStudy]:
        """The newest studies before this one, newest first; one without a date is none of them."""
        moment = _moment(source.text("StudyDate"), source.text("StudyTime"))
        if moment is None:
            return []
        of_patient = self._of_one_site(study_orthanc_id, self._pacs.patient_studies(study_orthanc_id, _MOST_STUDIES))
        studies = [
            (then, study)
            for study in of_patient
            if study.orthanc_id != study_orthanc_id
            and (then := _moment(study.tags.get("StudyDate", ""), study.tags.get("StudyTime", "")))
            and then < moment
            # on one day the times decide, where both are there
            and (then[0] < moment[0] or then[1])
        ]
        studies.sort(key=lambda pair: (pair[0], pair[1].orthanc_id), reverse=True)
        return [study for _, study in studies[:_STUDIES_LOOKED_AT]]

    def _of_one_site(self, study_orthanc_id: str, studies: list[StoredStudy]) -> list[StoredStudy]:
        if not self._sites.institutions:
            return studies
        site_of = {one.orthanc_id: self._sites.site_of(one.tags.get("InstitutionName", "")) for one in studies}
        site = site_of.get(study_orthanc_id)
        return [one for one in studies if site is not None and site_of[one.orthanc_id] == site]

    def _films(
        self, study: StoredStudy, known: Analysis | None, scope: ScopeRules
    ) -> Iterator[tuple[Dataset, Callable[[], Dataset]]]:
        """The film that was scored, or else each radiograph of the study: what it states, and what gives it whole."""
        if known:
            image = known.image
            try:
                found = self._pacs.locate(study.orthanc_id, image.series_instance_uid, image.sop_instance_uid)
                yield self._film(found, is_scored=True)
            except UnusableImage:
                return
            return
        for series in self._pacs.series(study.orthanc_id):
            if series.tags.get("Modality", "").strip().upper() not in scope.modalities:
                continue
            for orthanc_id in series.instances:
                try:
                    yield self._film(orthanc_id, is_scored=False)
                except UnusableImage:
                    continue

    def _film(self, orthanc_id: str, *, is_scored: bool) -> tuple[Dataset, Callable[[], Dataset]]:
        if is_scored or self._load_scorer is None:
            return self._pacs.header(orthanc_id), functools.cache(lambda: self._pacs.read(orthanc_id))
        film = self._pacs.read(orthanc_id)  # once, for it is scored on the way
        return film, lambda: film

    def _prior(  # noqa: PLR0913 - what is known of it
        self,
        study: StoredStudy,
        film: ImageReference,
        *,
        dataset: Callable[[], Dataset],
        known: Analysis | None,
        analysis: Analysis,
        patient: PatientFacts,
    ) -> Prior:
        then, why_not = (known, "") if known else self._scored(dataset, analysis.scorer.sha256)
        try:
            report, text, unread = self._report(study, patient)
        except PacsUnavailable as error:
            log.warning("a prior report could not be fetched", code=error.code)
            report, text, unread = None, "", "the report on the earlier film could not be fetched from the PACS"
        return Prior(
            study_instance_uid=film.study_instance_uid,
            study_date=study.tags["StudyDate"],
            film=film,
            dataset=dataset,
            report=report,
            report_text=text,
            analysis=then,
            not_compared="; ".join(filter(None, (why_not, unread))),
        )

    def _scored(self, dataset: Callable[[], Dataset], sha256: str) -> tuple[Analysis | None, str]:
        """What the model of this digest says of a film that it has not judged yet, or why nothing."""
        if self._load_scorer is None:
            return None, "the earlier film was not scored by this model"
        try:
            scorer = self._load_scorer()
            if scorer.algorithm.sha256 != sha256:
                return None, "the earlier film was not scored by this model"
            return scorer.score(read_radiograph(dataset())), ""
        except UnusableImage as error:
            return None, f"the earlier film cannot be scored: {in_a_sentence(error.message)}"
        except ModelUnavailable as error:
            log.warning("the prior was not scored", code=error.code)
            return None, "the earlier film could not be scored: see the worker's log"

    def _report(self, study: StoredStudy, patient: PatientFacts) -> tuple[PriorReport | None, str, str]:
        """The report of a study that is most surely a radiologist's, what it says, and why another is not read."""
        found, unlike = [], ""
        documents = [
            orthanc_id
            for series in self._pacs.series(study.orthanc_id)
            if series.tags.get("Modality", "").strip().upper() in _REPORT_MODALITIES and not is_own_series(series)
            for orthanc_id in series.instances
        ]
        for orthanc_id in documents[:_MOST_DOCUMENTS]:
            try:
                if self._pacs.size_bytes(orthanc_id) > _MOST_DOCUMENT_BYTES:
                    continue
                dataset = self._pacs.read(orthanc_id)
            except UnusableImage:
                continue
            source = Source(dataset)
            rank = self._rank(source, dataset)
            if rank is None:
                continue
            if why := disagreement(patient, _patient(source)):
                unlike = f"a report in the earlier study is not read: {why}"
            else:
                found.append((rank, dataset))
        if not found:
            return None, "", unlike
        return *_read_report(max(found, key=lambda pair: pair[0])[1]), unlike

    def _rank(self, source: Source, dataset: Dataset) -> tuple[bool, bool, str] | None:
        """How surely a document is a radiologist's report, then how new it is; None where it is none."""
        header = {keyword: source.text(keyword) for keyword in ("SOPClassUID", "Manufacturer")}
        if not is_document(header) or is_own_manufacturer(header["Manufacturer"]) or is_by_device(dataset):
            return None
        document = _document(source)
        is_known = radiologist_of(document, self._report_titles) is not None
        titles = " ".join(document.titles).casefold()
        if header["SOPClassUID"] == EncapsulatedPDFStorage:
            if not is_known and not any(word in titles for word in _REPORT_WORDS):
                return None  # a letter or a consent form
        elif not source.items("ContentSequence"):
            return None
        is_final = not {document.completion.upper(), document.preliminary.upper()} & {"PARTIAL", "PRELIMINARY"}
        return is_known, is_final, source.text("ContentDate") + source.text("ContentTime")


def _read_report(dataset: Dataset) -> tuple[PriorReport, str]:
    source = Source(dataset)
    sop_class = source.text("SOPClassUID")
    document = _document(source)
    if sop_class == EncapsulatedPDFStorage:
        text, limits = text_of_pdf(bytes(dataset.get("EncapsulatedDocument") or b""))
        is_whole = len(text) <= _MOST_CHARACTERS
        text = text[:_MOST_CHARACTERS]
    else:
        (text, is_whole), limits = report_text(dataset, _MOST_CHARACTERS), ""
    if not is_whole:
        limits = f"only its first {_MOST_CHARACTERS} characters were read"
    flags = {document.verification.lower(), document.completion.lower(), document.preliminary.lower()}
    said = [flag for flag in ("verified", "unverified", "partial", "preliminary") if flag in flags]
    report = PriorReport(
        study_instance_uid=source.text("StudyInstanceUID"),
        series_instance_uid=source.text("SeriesInstanceUID"),
        sop_class_uid=sop_class,
        sop_instance_uid=source.text("SOPInstanceUID"),
        kind=", ".join((UID(sop_class).name.removesuffix(" Storage"), *said)),
        limits=limits or ("" if text.strip() else "it holds no text"),
    )
    return report, text


def _document(source: Source) -> DocumentHeader:
    concepts = source.items("ConceptNameCodeSequence")[:1]
    titles = [source.text("DocumentTitle")]
    titles += [concept.text(keyword) for concept in concepts for keyword in ("CodeValue", "CodeMeaning")]
    return DocumentHeader(
        sop_class_uid=source.text("SOPClassUID"),
        verification=source.text("VerificationFlag"),
        completion=source.text("CompletionFlag"),
        preliminary=source.text("PreliminaryFlag"),
        titles=tuple(titles),
    )


def _patient(source: Source) -> PatientFacts:
    return PatientFacts(
        issuer=source.text("IssuerOfPatientID"),
        name=source.text("PatientName"),
        birth_date=source.text("PatientBirthDate"),
        sex=source.text("PatientSex"),
    )


def _header(source: Source) -> dict[str, str]:
    return {keyword: text for keyword in HEADER_KEYWORDS if (text := source.text(keyword))}


def _moment(day: str, at: str) -> tuple[str, str] | None:
    """Study Date and Time to compare; None without a date. The time is "" where it is not stated."""
    day, at = day.strip(), at.strip()[:_TIME]
    if len(day) != _DAY or not day.isdigit() or not "01" <= day[4:6] <= "12":
        return None
    return day, at if at.isdigit() else ""
