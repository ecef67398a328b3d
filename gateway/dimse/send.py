"""Send images to a PACS by C-STORE (PS3.4 Annex B), byte for byte as they are.

A file's dataset is never decoded and encoded again: what a modality got wrong arrives wrong, and compressed pixels
stay compressed. One image that fails does not stop the others.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, _config, build_context
from pynetdicom.association import Association
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from gateway.dimse.associate import associate
from imaging.files import is_picture, read_image_file, split_dicom, wrap_picture_file
from worklist.errors import InvalidInput, PacsUnavailable
from worklist.words import printable

_MAX_CONTEXTS = 128  # presentation contexts of one association: the odd numbers below 256, PS3.8 9.3.2.2
_NEEDED = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
_AE = re.compile(r"[ -\[\]-~]*")  # PS3.5 6.2: the default repertoire without backslash and control characters
_CONNECT_S, _ANSWER_S = 10, 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one image.

    Attributes:
        name: the file's path, or the SOP Instance UID of a dataset.
        status: the C-STORE response's status (PS3.4 B.2.3) in hexadecimal, such as 0000 or A900; None where there
            was no response.
        reason: why it failed, or what the PACS warned of; empty after plain success.
    """

    name: str
    status: str | None
    reason: str

    @property
    def is_stored(self) -> bool:
        """Whether the PACS has the image, be it with a warning."""
        return self.status is not None and code_to_category(int(self.status, 16)) in {"Success", "Warning"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SendResult:
    """What became of every image, in the order in which it was known."""

    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The images that the PACS does not have."""
        return tuple(outcome for outcome in self.outcomes if not outcome.is_stored)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Peer:
    """Where to send to, and under which names."""

    host: str
    port: int
    called_aet: str
    calling_aet: str

    def __str__(self) -> str:
        """The peer as a message names it."""
        return f"{self.called_aet} at {self.host}:{self.port}"


OnProgress = Callable[[Outcome, int], None]
"""Called after each image with its outcome and the number of images in all."""


def send(  # noqa: PLR0913 - the peer's address is what a person types
    sources: Iterable[Path | Dataset],
    *,
    host: str,
    port: int,
    called_aet: str,
    calling_aet: str = "FIRSTREAD",
    on_progress: OnProgress | None = None,
) -> SendResult:
    """Store DICOM files (with or without file meta information), pictures and datasets in a PACS.

    Args:
        sources: files, and datasets with file meta information; folders are for open_study_files to expand.
        host: the PACS's name or address.
        port: its DICOM port.
        called_aet: its AE title.
        calling_aet: our AE title.
        on_progress: called after each image.

    Raises:
        InvalidInput: bad_ae_title, an AE title is empty or longer than 16 characters.
        PacsUnavailable: pacs_unreachable, nothing answers there, or something that does not speak DICOM;
            association_rejected, the PACS turns us away. Only before the first image was sent: later on, the images
            that remain fail with that reason.
    """
    for title in (called_aet, calling_aet):
        if not 1 <= len(title.strip()) <= 16 or not _AE.fullmatch(title):  # noqa: PLR2004 - PS3.5 6.2, VR AE
            raise InvalidInput(
                "bad_ae_title", f"{title!r} is no AE title: give 1 to 16 characters of ASCII without a backslash"
            )
    peer = _Peer(host=host, port=port, called_aet=called_aet, calling_aet=calling_aet)
    sources = list(sources)
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if on_progress:
            on_progress(outcome, len(sources))

    items = []
    for source in sources:
        try:
            items.append(_item(source))
        except InvalidInput as error:
            tell(Outcome(name=_name(source), status=None, reason=error.message.removeprefix(f"{source} ")))
    contexts = sorted({item.context for item in items})
    for start in range(0, len(contexts), _MAX_CONTEXTS):
        some = contexts[start : start + _MAX_CONTEXTS]
        batch = [item for item in items if item.context in some]
        for outcome in _send_batch(batch, some, peer, may_raise=start == 0):
            tell(outcome)
    return SendResult(outcomes=tuple(outcomes))


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """A bar on stderr, to be handed to send as on_progress; names each image that fails."""
    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console) as progress:
        task = progress.add_task("Sending", total=None)

        def advance(outcome: Outcome, total: int) -> None:
            progress.update(task, advance=1, total=total)
            if not outcome.is_stored:
                status = f" ({outcome.status})" if outcome.status else ""
                line = printable(f"not sent{status}: {outcome.name}: {outcome.reason}")
                progress.console.print(line, markup=False, soft_wrap=True)

        yield advance


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    """An image to send: the context it needs, and how to get hold of it when its turn comes."""

    name: str
    context: tuple[UID, UID]  # SOP class, transfer syntax
    fetch: Callable[[Path], Path | Dataset]  # given a folder for a temporary file


def _item(source: Path | Dataset) -> _Item:
    """How to send a source.

    Raises:
        InvalidInput: it is no image, or so broken that not even its SOP class can be told.
    """
    if isinstance(source, Dataset):
        missing = [word for word in ("SOPClassUID", "SOPInstanceUID") if not source.get(word)]
        syntax = getattr(source, "file_meta", Dataset()).get("TransferSyntaxUID")
        if missing or not syntax:
            raise InvalidInput("unreadable_dicom", f"the dataset has no {missing or 'TransferSyntaxUID'}")
        return _Item(name=_name(source), context=(source.SOPClassUID, syntax), fetch=lambda _folder: source)
    if is_picture(source):
        context = (DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
        return _Item(name=_name(source), context=context, fetch=lambda _folder: wrap_picture_file(source))
    found, offset = split_dicom(source)
    try:
        # what the dataset says of itself counts: a PACS refuses an image whose file meta says otherwise
        meta: Dataset = read_image_file(source, header_only=True).file_meta
    except InvalidInput:
        if not all(found.get(word) for word in _NEEDED):
            raise
        meta = found  # nobody can read the dataset, but it can be sent
    context = (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    if all(meta[word].value == found.get(word) for word in _NEEDED):
        return _Item(name=_name(source), context=context, fetch=lambda _folder: source)
    return _Item(name=_name(source), context=context, fetch=partial(_with_file_meta, source, meta, offset))


def _with_file_meta(path: Path, meta: Dataset, offset: int, folder: Path) -> Path:
    """A temporary copy of a file: the same dataset, byte for byte, behind file meta information that is right."""
    copy = folder / "image.dcm"
    head = DicomBytesIO()
    write_file_meta_info(head, FileMetaDataset(meta))
    with path.open("rb") as source, copy.open("wb") as target:
        target.write(bytes(128) + b"DICM" + head.getvalue())
        source.seek(offset)
        shutil.copyfileobj(source, target)
    return copy


def _name(source: Path | Dataset) -> str:
    return str(source.get("SOPInstanceUID", "a dataset")) if isinstance(source, Dataset) else str(source)


def _send_batch(
    items: Sequence[_Item], contexts: Sequence[tuple[UID, UID]], peer: _Peer, *, may_raise: bool
) -> Iterator[Outcome]:
    """Send images over one association, or the next one where the PACS broke it off."""
    association: Association | None = None
    with tempfile.TemporaryDirectory(prefix="firstread-") as folder:
        try:
            for number, item in enumerate(items):
                if association is None or _is_lost(association):
                    try:
                        association = _associate(contexts, peer)
                    except PacsUnavailable as error:
                        if may_raise and number == 0:
                            raise
                        for left in items[number:]:
                            yield Outcome(name=left.name, status=None, reason=error.message)
                        return
                yield _store(association, item, Path(folder), peer)
        finally:
            if association is not None and association.is_established:
                association.release()


def _is_lost(association: Association) -> bool:
    # where no context at all was accepted there is nothing to gain from asking again
    return bool(association.accepted_contexts) and not association.is_established


def _associate(contexts: Sequence[tuple[UID, UID]], peer: _Peer) -> Association:
    entity = AE(ae_title=peer.calling_aet)
    entity.connection_timeout = entity.acse_timeout = _CONNECT_S
    entity.dimse_timeout = entity.network_timeout = _ANSWER_S
    proposed = [build_context(sop_class, syntax) for sop_class, syntax in contexts]
    unreachable = f"no DICOM server answers as {peer}: check host, port and AE title"
    try:
        association, refusal = associate(entity, peer.host, peer.port, contexts=proposed, ae_title=peer.called_aet)
    except OSError as error:
        raise PacsUnavailable("pacs_unreachable", unreachable) from error
    if association.is_established or association.rejected_contexts:
        return association
    if refusal:
        raise PacsUnavailable(
            "association_rejected",
            f"{peer} refuses {peer.calling_aet} ({refusal.reason_str}): check both AE titles and whom the PACS lets in",
        )
    raise PacsUnavailable("pacs_unreachable", unreachable)


def _store(association: Association, item: _Item, folder: Path, peer: _Peer) -> Outcome:
    failed = partial(Outcome, name=item.name, status=None)
    sop_class, syntax = item.context
    if item.context not in {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}:
        return failed(reason=f"{peer.called_aet} does not accept {sop_class.name} in {syntax.name}")
    _config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent byte for byte
    try:
        response = association.send_c_store(item.fetch(folder))
    except InvalidInput as error:
        return failed(reason=error.message.removeprefix(f"{item.name} "))
    except OSError as error:
        return failed(reason=f"cannot be read: {error.strerror or error}")
    except (ValueError, AttributeError, RuntimeError) as error:
        return failed(reason=f"cannot be sent: {error}")
    if "Status" not in response:
        association.abort()  # after the peer's own abort it would still pass for established for a moment
        return failed(reason=f"{peer.called_aet} broke off or did not answer within {_ANSWER_S} s")
    _category, meaning = STORAGE_SERVICE_CLASS_STATUS.get(response.Status, ("", "unknown status"))
    reason = ": ".join(filter(None, [meaning, response.get("ErrorComment", "")]))
    return Outcome(name=item.name, status=f"{response.Status:04X}", reason=reason)
