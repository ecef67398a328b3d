"""What no validator catches in crops, overlays and key image notes, as functions that return the faults they find.

Each takes the objects that one run left in a study, and the films that were scored, the leading one first.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_sr import codes
from tests.sr_tree import below, crops_of, items, name_of, values


def overlays(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """Presentation states draw the boxes of the findings report under their UIDs, each in its film's polarity."""
    found = []
    boxes_by_film: dict[str, dict[str, list[float]]] = {}
    for group in items(study, "CONTAINER"):
        parts = {item.ValueType: item for item in group.ContentSequence}
        if name_of(group).meaning == "Measurement Group" and {"UIDREF", "SCOORD"} <= set(parts):
            (image,) = parts["SCOORD"].get("ContentSequence") or [Dataset()]
            uid = image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID if "ReferencedSOPSequence" in image else ""
            boxes_by_film.setdefault(uid, {})[parts["UIDREF"].UID] = list(parts["SCOORD"].GraphicData)
    photometric = {film.SOPInstanceUID: film.get("PhotometricInterpretation") for film in films}
    for state in study:
        if state.Modality != "PR":
            continue
        layers = {layer.GraphicLayer for layer in state.get("GraphicLayerSequence", ())}
        if not {item.GraphicLayer for item in state.GraphicAnnotationSequence} <= layers:
            found.append("an overlay draws on a layer that it does not define")
        drawn = [graphic for item in state.GraphicAnnotationSequence for graphic in item.GraphicObjectSequence]
        shown = {
            image.ReferencedSOPInstanceUID
            for item in (*state.ReferencedSeriesSequence, *state.GraphicAnnotationSequence)
            for image in item.ReferencedImageSequence
        }
        (uid, *others) = shown
        if others or uid not in photometric:
            found.append("an overlay is of another film")
            continue
        if {graphic.TrackingUID: list(graphic.GraphicData) for graphic in drawn} != boxes_by_film.get(uid):
            found.append("an overlay has other boxes than the findings report")
        if any((graphic.GraphicType, graphic.GraphicAnnotationUnits) != ("POLYLINE", "PIXEL") for graphic in drawn):
            found.append("a box of an overlay is no polyline in pixels")
        if state.PresentationLUTShape != ("INVERSE" if photometric[uid] == "MONOCHROME1" else "IDENTITY"):
            found.append(f"an overlay shows a {photometric[uid]} film as {state.PresentationLUTShape}")
    return found


def notes(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """A key image note says that AI chose its films, each through its overlay, and all of them are its evidence."""
    found = []
    overlay_of = {
        item.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID: item.SOPInstanceUID
        for item in study
        if item.Modality == "PR"
    }
    for note in study:
        if note.Modality != "KO":
            continue
        if name_of(note) != codes.OF_INTEREST or note.ContentTemplateSequence[0].TemplateIdentifier != "2010":
            found.append(f"a key image note is titled {name_of(note).meaning}")
        if not any("Chosen by AI" in item.TextValue for item in below(note) if item.ValueType == "TEXT"):
            found.append("a key image note does not say who chose the film")
        chosen = [item.ReferencedSOPSequence[0] for item in below(note) if item.ValueType == "IMAGE"]
        uids = [image.ReferencedSOPInstanceUID for image in chosen]
        through = {
            image.ReferencedSOPInstanceUID: state.ReferencedSOPInstanceUID
            for image in chosen
            for state in image.get("ReferencedSOPSequence", ())
        }
        if not uids or not set(uids) <= {film.SOPInstanceUID for film in films} or through != overlay_of:
            found.append("a key image note is of another film, or not through the overlay")
        listed = [
            sop.ReferencedSOPInstanceUID
            for study_item in note.CurrentRequestedProcedureEvidenceSequence
            for series_item in study_item.ReferencedSeriesSequence
            for sop in series_item.ReferencedSOPSequence
        ]
        if sorted(listed) != sorted([*uids, *overlay_of.values()]):
            found.append(f"the evidence of a key image note is {listed}")
    return found


def pictures(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """A box has a crop, three at most, and after them each film with a box is shown whole; without a box is nothing."""
    captured = sorted(crops_of(study), key=lambda item: int(item.InstanceNumber))
    boxed = [
        child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in items(study, "SCOORD", of={Comprehensive3DSRStorage})
        for child in item.get("ContentSequence", ())
    ]
    found = []
    wholes = captured[min(len(boxed), 3) :]
    if len(wholes) != len(set(boxed)):
        found.append(f"{len(captured)} crops do not fit the boxes")
    sizes = {film.SOPInstanceUID: (film.Columns - 1, film.Rows - 1) for film in films}
    for whole in wholes:
        columns, rows = sizes.get(whole.SourceImageSequence[0].ReferencedSOPInstanceUID, (0, 0))
        if not whole.DerivationDescription.startswith(f"Columns 0 to {columns} and rows 0 to {rows} "):
            found.append("the last crop is not the whole film")
    return found


def captures(study: Sequence[Dataset], films: Sequence[Dataset]) -> list[str]:
    """Crops are derived, say of what, own up to lossy compression, and lossy compression has a ratio and method."""
    found = []
    by_uid = {film.SOPInstanceUID: film for film in films}
    for crop in study:
        if crop.Modality != "OT":
            continue
        if list(crop.get("ImageType", ()))[:2] != ["DERIVED", "SECONDARY"]:
            found.append(f"a crop is {crop.get('ImageType')}")
        origins = [by_uid.get(item.ReferencedSOPInstanceUID) for item in crop.get("SourceImageSequence", ())]
        film = origins[0] if len(origins) == 1 else None
        if film is None:
            found.append("a crop does not name its film")
            continue
        lossy = crop.get("LossyImageCompression")
        if film.get("LossyImageCompression") == "01" and lossy != "01":
            found.append("a crop of a lossy film is not lossy")
        if lossy == "01" and not (
            values(crop, "LossyImageCompressionRatio") and values(crop, "LossyImageCompressionMethod")
        ):
            found.append("a crop is lossy without a ratio and method")
        if any(float(ratio) <= 1 for ratio in values(crop, "LossyImageCompressionRatio")):
            found.append("a lossy ratio is not above 1")
    return found
