"""Which images are looked at: real headers in their real spellings, and what must be left alone."""

from __future__ import annotations

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)

from tests.servers import find_shared_data
from worklist.scope import HEADER_KEYWORDS, ScopeRules, assess_scope, is_own_object

COMPUTED = "1.2.840.10008.5.1.4.1.1.1"
DIGITAL = "1.2.840.10008.5.1.4.1.1.1.1"
DIGITAL_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"

CHEST = [
    *("CHEST", "chest", "CHEST PA", "AP Chest", "CHEST 2 VIEWS", "CHEST AP/LAT", "Chest_AP_Portable", "CHEST^PA"),
    *("CHEST-XRAY", "CHESTXRAY", "XRCHEST", "CHEST1", "CHESTABDOMEN", "CHEST_TO_PELVIS", "XR CHEST 1 VIEW"),
    *("CXR", "CXR PORTABLE", "PORT CXR", "CXR1V", "LUNG", "Lungs", "Chest/Lungs", "ＣＨＥＳＴ"),
    *("THORAX", "Thorax", "Thorax a.p.", "Thorax_p.a.", "Thorax pa/lat", "THORAX BETT", "Thoraxübersicht", "THX"),
    *("Röntgen Thorax", "RöThorax", "Lunge a.p.", "Lungenübersicht", "Brustkorb", "Thorax und BWS", "Foto thorax"),
    *("Tórax", "TÓRAX PA", "RX TORAX", "RX DE TORAX P.A. Y LATERAL", "TELETORAX", "rx pulmonar", "Tele torácica"),
    *("Parrilla costal y tórax", "Tórax (PA e Perfil)", "Pulmão", "Rx torace", "Torace PA", "Polmoni"),
    *("Radiographie thoracique", "Thorax de face", "POUMON", "Poumons face", "Borstkas", "Brystkasse", "Lungor"),
    *("Keuhkot", "rintakehä", "RTG KLP", "RTG klatki piersiowej", "Klatka piersiowa", "Hrudník", "Rentgen plic"),
    *("Mellkasröntgen", "mellkas PA", "prsni koš", "pluća", "Krūškurvis", "Rindkere", "AKCİĞER GRAFİSİ"),
    *("PA AC GRAFİSİ", "Toraks", "göğüs röntgeni", "Θώρακας", "Ακτινογραφία θώρακος", "Грудная клетка"),
    *("органы грудной клетки", "Рентгенография ОГК", "лёгкие", "грудна клітка", "гръден кош"),
    *(
        "胸部正面",
        "胸部",
        "胸",
        "胸片",
        "正位胸片",
        "胸部Ｘ線",
        "흉부",
        "흉부 X선",
        "ทรวงอก",
        "ปอด",
        "صدر",
        "أشعة الصدر",
    ),
    *("צילום חזה", "قفسه سینه", "Bóng phổi", "X-quang ngực thẳng"),
]
NOT_CHEST = [
    *("HAND", "Hand links", "FINGER", "ELBOW", "SHOULDER", "CLAVICLE", "HUMERUS", "KNEE", "Knee AP", "Knie", "FOOT"),
    *("ANKLE", "CALCANEUS", "HIP", "PELVIS", "Becken", "FEMUR", "Leg", "SKULL", "HEAD", "EYE", "JAW", "SINUS", "NNH"),
    *("PANORAMIC", "NECK", "BREAST", "ABDOMEN", "ABD", "Abdomen stehend", "KUB", "RIB", "RIBS", "Ribs left", "Rippen"),
    *("Costillas", "parrilla costal", "Gril costal", "côtes", "Żebra", "STERNUM", "Грудина", "рёбра"),
    *("T-SPINE", "TSPINE", "T SPINE", "CSPINE", "L-Spine", "SSPINE", "TLSPINE", "Thoracic spine", "THORACIC SPINE AP"),
    *("Thoracic Spine 3 views", "THORACOLUMBAR SPINE", "Thoracolumbar", "BRUSTWIRBELSAEULE", "Brustwirbelsäule"),
    *("BWS", "BWS a.p.", "LWS", "HWS", "Thorakale Wirbelsäule", "Columna dorsal", "Columna torácica AP"),
    *("Coluna torácica", "Colonna dorsale", "rachis thoracique", "Rachis thoraco-lombaire", "Vertebra thoracalis"),
    *("kręgosłup piersiowy", "грудной отдел позвоночника", "胸椎", "胸椎正侧位", "胸腰椎", "胸骨", "흉추"),
    *("腹部", "膝关节", "右手", "頭部", "무릎"),
]


def header(**values: str) -> dict[str, str]:
    """The header of a digital radiograph with these values."""
    return {"SOPClassUID": DIGITAL, "Modality": "DX", "Rows": "2500", "Columns": "2048", **values}


def refusal(**values: str) -> str | None:
    """The code under which such a radiograph is refused; None where it is looked at."""
    failure = assess_scope(header(**values), ScopeRules())
    assert failure is None or failure.message
    return failure.code if failure else None


@pytest.mark.parametrize("words", CHEST)
def test_the_chest_is_known_in_every_spelling(words: str) -> None:
    """As a body part, beside a wrong body part, and in the study's description alone."""
    assert refusal(BodyPartExamined=words) is None
    assert refusal(BodyPartExamined="EYE", ProtocolName=words, ViewPosition="PA") is None
    assert refusal(StudyDescription=words, PatientOrientation="L\\F") is None


@pytest.mark.parametrize("words", NOT_CHEST)
def test_other_parts_are_left_alone(words: str) -> None:
    """As a body part, and in any description where no body part is stated."""
    assert refusal(BodyPartExamined=words) == "not_chest"
    assert refusal(SeriesDescription=words, ViewPosition="AP") == "not_chest"
    assert refusal(StudyDescription=words, ViewPosition="AP") == "not_chest"
    assert refusal(AcquisitionDeviceProcessingDescription=words, ViewPosition="AP") == "not_chest"


@pytest.mark.parametrize("body_part", ["", " ", "UNKNOWN", "Other", "N/A", "X-RAY"])
def test_a_film_that_names_no_part_is_looked_at(body_part: str) -> None:
    """A header that says nothing is no reason to miss a pneumothorax."""
    assert refusal(BodyPartExamined=body_part) is None
    assert assess_scope({"SOPClassUID": COMPUTED, "Modality": "CR"}, ScopeRules()) is None


def test_the_image_outweighs_its_study() -> None:
    """In a study of several parts each film is judged by what is said of itself."""
    assert refusal(StudyDescription="XR CHEST, XR HAND", SeriesDescription="HAND AP") == "not_chest"
    assert refusal(StudyDescription="XR HAND, XR FOOT", SeriesDescription="CHEST AP") is None
    assert refusal(StudyDescription="XR CHEST, XR HAND", BodyPartExamined="HAND") == "not_chest"
    assert refusal(StudyDescription="Trauma: chest, pelvis") is None


@pytest.mark.parametrize("body_part", ["SKULL", "SPINE", "PECHO", "HEART", "CORAZON", "COR PULM", "COEUR", "HERZ"])
def test_a_body_part_left_at_its_default_hides_no_chest(body_part: str) -> None:
    """Where the study is one of the chest alone, or the part is another word for it, the pixels decide."""
    assert refusal(BodyPartExamined=body_part, StudyDescription="XR CHEST 1 VIEW") is None


@pytest.mark.parametrize(
    "values",
    [
        {"ImageType": "DERIVED\\PRIMARY\\\\BONE"},
        {"ImageType": "DERIVED\\PRIMARY", "SeriesDescription": "Chest PA bone suppressed"},
        {"ImageType": "DERIVED\\PRIMARY", "SeriesDescription": "Chest soft tissue"},
        {"SOPClassUID": SECONDARY_CAPTURE, "ImageType": "DERIVED\\SECONDARY", "PhotometricInterpretation": "RGB"},
        {"DerivationDescription": "Heat map of an algorithm"},
    ],
)
def test_derived_images_are_no_films(values: dict[str, str]) -> None:
    """A copy that shows something else than the film did is out of scope."""
    assert refusal(**{"BodyPartExamined": "CHEST", **values}) == "derived_image"


def test_a_merely_derived_film_is_looked_at() -> None:
    """A film that was exported or compressed calls itself derived, and shows what it did."""
    assert refusal(BodyPartExamined="CHEST", ImageType="DERIVED\\PRIMARY", SeriesDescription="Chest PA") is None


def test_an_image_for_processing_is_told_by_its_intent() -> None:
    """The CR class is one for both, so the intent tells what is raw."""
    assert refusal(BodyPartExamined="CHEST", PresentationIntentType="FOR PROCESSING") == "for_processing"


def test_a_body_part_that_nobody_knows_is_not_taken_for_the_chest() -> None:
    """It is refused, in words that tell a site what to add."""
    failure = assess_scope(header(BodyPartExamined="Dada"), ScopeRules())
    assert failure is not None
    assert failure.message == "body part is dada, not chest"
    assert assess_scope(header(BodyPartExamined="DADA (PA)"), ScopeRules(chest_words=frozenset({"Dada"}))) is None


def test_an_empty_chest_word_names_nothing() -> None:
    """A slip in a site's settings does not turn every hand into a chest."""
    failure = assess_scope(header(BodyPartExamined="HAND"), ScopeRules(chest_words=frozenset({"", " - "})))
    assert failure is not None
    assert failure.code == "not_chest"


@pytest.mark.parametrize(
    "values",
    [
        {"ViewPosition": "LL"},
        {"ViewPosition": "RL"},
        {"ViewPosition": "LATERAL"},
        {"ViewPosition": "lat"},
        {"ViewPosition": "LLD"},
        {"ViewPosition": "RAO"},
        {"PatientOrientation": "A\\F"},
        {"PatientOrientation": "P\\F"},
        {"PatientOrientation": "AF\\FP"},
        {"SeriesDescription": "Chest LAT"},
        {"SeriesDescription": "Chest Lateral Left"},
        {"SeriesDescription": "Thorax seitlich"},
        {"SeriesDescription": "Thorax li. seitl."},
        {"SeriesDescription": "Thorax lateraal"},
        {"SeriesDescription": "Tórax perfil"},
        {"SeriesDescription": "Thorax de profil"},
        {"SeriesDescription": "Klatka piersiowa boczne"},
        {"SeriesDescription": "ОГК боковая"},
        {"SeriesDescription": "胸部側面"},
        {"SeriesDescription": "胸部侧位"},
        {"SeriesDescription": "Chest left decubitus"},
        {"ProtocolName": "CHEST LAT"},
    ],
)
def test_a_view_that_is_not_frontal_is_told_by_any_sign(values: dict[str, str]) -> None:
    """By view position, by the patient's orientation, or by a description, in this order of trust."""
    assert refusal(**{"BodyPartExamined": "CHEST", **values}) == "lateral_view"


@pytest.mark.parametrize(
    "values",
    [
        {"ViewPosition": "PA"},
        {"ViewPosition": "AP", "SeriesDescription": "Chest lat"},
        {"PatientOrientation": "L\\F"},
        {"PatientOrientation": "R\\F"},
        {"PatientOrientation": ""},
        {"SeriesDescription": "Thorax pa/lat"},
        {"SeriesDescription": "RX DE TORAX P.A. Y LATERAL"},
        {"SeriesDescription": "Thorax face + profil"},
        {"SeriesDescription": "胸部正侧位"},
        {"StudyDescription": "Chest PA and lateral"},
        {"StudyDescription": "Chest lateral"},
        {"SeriesDescription": "Chest, left lung base"},
    ],
)
def test_a_frontal_view_is_looked_at(values: dict[str, str]) -> None:
    """A study's description says nothing of one film's view, and a series of both views holds a frontal one."""
    assert refusal(**{"BodyPartExamined": "CHEST", **values}) is None


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"SOPClassUID": COMPUTED, "Modality": "CR"}, None),
        ({"SOPClassUID": DIGITAL, "Modality": "DX"}, None),
        ({"SOPClassUID": DIGITAL, "Modality": "dx "}, None),
        ({"SOPClassUID": DIGITAL, "Modality": "MG"}, "not_a_radiograph"),
        ({"SOPClassUID": DIGITAL, "Modality": ""}, None),
        ({"SOPClassUID": COMPUTED, "Modality": "OT"}, None),
        ({"SOPClassUID": DIGITAL_FOR_PROCESSING, "Modality": "DX"}, "for_processing"),
        ({"SOPClassUID": CT, "Modality": "CT"}, "not_a_radiograph"),
        ({"SOPClassUID": CT, "Modality": "DX"}, "not_a_radiograph"),
        ({"SOPClassUID": "", "Modality": "DX"}, "not_a_radiograph"),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "DX"}, None),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "CR", "BodyPartExamined": ""}, None),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "DX", "BodyPartExamined": "HAND"}, "not_chest"),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "OT"}, None),
        ({"SOPClassUID": f"{SECONDARY_CAPTURE}.2", "Modality": "OT"}, None),
        (
            {"SOPClassUID": SECONDARY_CAPTURE, "Modality": "OT", "BodyPartExamined": "", "ProtocolName": "Thorax"},
            None,
        ),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "OT", "BodyPartExamined": ""}, "not_a_radiograph"),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "CT", "SeriesDescription": "Dose Report"}, "not_a_radiograph"),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "CT", "SeriesDescription": "CT Chest"}, "not_a_radiograph"),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "MR"}, "not_a_radiograph"),
    ],
)
def test_the_kind_of_object_decides_first(values: dict[str, str], code: str | None) -> None:
    """Radiographs, and films wrapped as Secondary Capture, are looked at; screenshots of a chest CT are not."""
    assert refusal(**{"BodyPartExamined": "CHEST", **values}) == code


def test_a_document_is_no_image() -> None:
    """An SR is told apart from an image that is no radiograph."""
    document = {"SOPClassUID": COMPREHENSIVE_SR, "Modality": "SR", "SeriesDescription": "Chest report"}
    failure = assess_scope(document, ScopeRules())
    assert failure is not None
    assert (failure.code, failure.message) == ("not_an_image", "not an image (modality SR)")


def test_a_site_may_refuse_secondary_captures_and_choose_its_modalities() -> None:
    """Both are settings."""
    captured = header(SOPClassUID=SECONDARY_CAPTURE, BodyPartExamined="CHEST")
    failure = assess_scope(captured, ScopeRules(accept_secondary_capture=False))
    assert failure is not None
    assert failure.code == "not_a_radiograph"
    assert assess_scope(header(Modality="PX"), ScopeRules(modalities=frozenset({"PX"}))) is None


@pytest.mark.parametrize(
    ("manufacturer", "sop_class_uid", "modality", "own"),
    [
        ("Firstread", EnhancedSRStorage, "SR", True),
        ("Firstread ", Comprehensive3DSRStorage, "SR", True),
        ("Firstread", KeyObjectSelectionDocumentStorage, "KO", True),
        ("Firstread", GrayscaleSoftcopyPresentationStateStorage, "PR", True),
        ("Firstread", SecondaryCaptureImageStorage, "OT", True),
        ("Firstread", SecondaryCaptureImageStorage, "CR", False),
        ("Firstread", ComputedRadiographyImageStorage, "CR", False),
        ("Firstread", DigitalXRayImageStorageForPresentation, "DX", False),
        ("FIRSTREADER", EnhancedSRStorage, "SR", False),
        ("", EnhancedSRStorage, "SR", False),
    ],
)
def test_our_own_objects_are_known(manufacturer: str, sop_class_uid: str, modality: str, own: bool) -> None:  # noqa: FBT001 - the expectation
    """By our name on a kind of object that we write: a device of that name makes radiographs."""
    header = {"Manufacturer": manufacturer, "SOPClassUID": sop_class_uid, "Modality": modality}
    assert is_own_object(header) is own
    assert not is_own_object({})


def test_a_film_that_a_device_of_our_name_wraps_is_not_ours() -> None:
    """Our crops lie in series of high numbers; a film that somebody wrapped as Secondary Capture does not."""
    header = {"Manufacturer": "Firstread", "SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT"}
    assert is_own_object(header | {"SeriesNumber": "9011"})
    assert not is_own_object(header | {"SeriesNumber": "1"})


@given(
    st.dictionaries(
        st.sampled_from(
            ["BodyPartExamined", "SeriesDescription", "StudyDescription", "ViewPosition", "PatientOrientation"]
        ),
        st.text(),
    )
)
def test_no_header_is_too_strange(values: dict[str, str]) -> None:
    """Whatever text a header holds, there is an answer, and a reason where it is no."""
    assert refusal(**values) in {None, "not_chest", "lateral_view"}


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("rg1_chest_15bit_mono1_uncompressed.dcm", None),
        ("rg1_chest_15bit_mono1_j2k_lossless.dcm", None),
        ("cr_mono1_10bit_chest.dcm", None),
        ("nhsx_google_nih_dx.dcm", None),
        ("NOT_CHEST_ct_abdomen.dcm", "not_a_radiograph"),
        ("NOT_CHEST_synthetic_disc_cr.dcm", "not_chest"),
    ],
)
def test_real_objects(file: str, code: str | None) -> None:
    """Real films are looked at; a CT, and a disc that calls itself an eye, are not."""
    dataset = pydicom.dcmread(find_shared_data() / "dicom" / file, stop_before_pixels=True, force=True)
    values = {element.keyword: element.value for element in dataset if element.keyword and element.VR != "SQ"}
    texts = {
        keyword: "\\".join(map(str, value)) if isinstance(value, pydicom.multival.MultiValue) else str(value)
        for keyword, value in values.items()
    }
    failure = assess_scope(texts, ScopeRules())
    assert (failure.code if failure else None) == code


class _Watched(dict[str, str]):
    """A header that notes what it is asked for."""

    asked: set[str]

    def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
        self.asked.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def test_every_attribute_that_is_read_is_declared() -> None:
    """Whoever fetches HEADER_KEYWORDS has all that the scope is told by, and nothing that it is not."""
    asked: set[str] = set()
    for values in ({"SOPClassUID": DIGITAL, "Modality": "DX", "PatientBirthDate": "19700101"}, {}):
        header = _Watched(values)
        header.asked = asked
        assess_scope(header, ScopeRules())
    assert asked == set(HEADER_KEYWORDS)
