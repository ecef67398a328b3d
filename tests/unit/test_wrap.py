"""Pictures wrapped as DX images, and files told apart by content."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from imaging import files, wrapping
from imaging.files import open_study_files, read_image_file, wrap_picture_file
from tests.bad_films import BAD_FILMS, chest
from worklist.errors import InvalidInput
from worklist.scope import ScopeRules, assess_scope

_RAMP = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
_FUJI = Path(__file__).parents[2] / ".." / "shared" / "data" / "dicom" / "cr_mono1_10bit_chest.dcm"


def save(image: Image.Image, path: Path, *, quality: int = 95, orientation: int = 1) -> Path:
    """Write a picture in the format of its suffix."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, quality=quality, exif=exif)
    return path


def png(path: Path, width: int, height: int) -> Path:
    """A PNG header that promises a size, and next to no pixels behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""),
    )
    return path


def test_eight_bit_grey_keeps_its_values(tmp_path: Path) -> None:
    """An 8-bit PNG becomes an 8-bit MONOCHROME2 DX image with the same values."""
    film = wrap_picture_file(save(Image.fromarray(_RAMP), tmp_path / "film.png"))
    assert film.SOPClassUID == DigitalXRayImageStorageForPresentation
    assert (film.PhotometricInterpretation, film.BitsAllocated, film.BitsStored) == ("MONOCHROME2", 8, 8)
    assert (film.pixel_array == _RAMP).all()
    assert film.LossyImageCompression == "00"


def test_sixteen_bit_grey_keeps_its_depth(tmp_path: Path) -> None:
    """A 16-bit PNG keeps values that 8 bits cannot hold."""
    deep = _RAMP.astype(np.uint16) * 257 + 3
    film = wrap_picture_file(save(Image.fromarray(deep), tmp_path / "film.png"))
    assert (film.BitsAllocated, film.BitsStored, film.HighBit) == (16, 16, 15)
    assert (film.pixel_array == deep).all()


def test_twelve_bits_in_a_sixteen_bit_picture_are_not_shown_black(tmp_path: Path) -> None:
    """The window of a 16-bit picture spans the values that occur in it."""
    film = wrap_picture_file(save(Image.fromarray(_RAMP.astype(np.uint16) * 16), tmp_path / "film.png"))
    assert (film.WindowCenter, film.WindowWidth) == (1912, 3825)


def test_an_odd_number_of_bytes_is_padded(tmp_path: Path) -> None:
    """Pixel Data has an even length even where the picture has an odd number of pixels (PS3.5 8.2)."""
    film = wrap_picture_file(save(Image.fromarray(_RAMP[:5, :7]), tmp_path / "film.png"))
    assert len(film.PixelData) == 36
    assert (film.pixel_array == _RAMP[:5, :7]).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1"])
def test_every_mode_becomes_grey(mode: str, tmp_path: Path) -> None:
    """Color, palette, transparency and one-bit pictures become grey values in the same order of brightness."""
    steps = np.repeat(np.array([0, 255], np.uint8), 50).reshape(10, 10)
    film = wrap_picture_file(save(Image.fromarray(steps).convert(mode), tmp_path / f"{mode}.png"))
    assert film.SamplesPerPixel == 1
    assert (film.pixel_array == steps).all()


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    """A transparent pixel is taken for air, whatever color hides behind it."""
    film = wrap_picture_file(save(Image.new("RGBA", (4, 4), (255, 255, 255, 0)), tmp_path / "clear.png"))
    assert film.pixel_array.max() == 0


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    """A photograph that says it lies on its side is stood up."""
    turn_clockwise = 6
    picture = save(Image.fromarray(_RAMP), tmp_path / "phone.jpg", quality=100, orientation=turn_clockwise)
    film = wrap_picture_file(picture)
    assert film.pixel_array.shape == (20, 12)
    assert np.abs(film.pixel_array.astype(int) - np.rot90(_RAMP, -1)).max() < 6


def test_a_jpeg_owns_up_to_its_loss(tmp_path: Path) -> None:
    """The decoded pixels of a JPEG carry the lossy flag, the method and the ratio (PS3.3 C.7.6.1.1.5)."""
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    picture = save(Image.fromarray(noise), tmp_path / "film.jpg", quality=50)
    film = wrap_picture_file(picture)
    assert film.LossyImageCompression == "01"
    assert film.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(film.LossyImageCompressionRatio) == pytest.approx(120_000 / picture.stat().st_size, abs=0.01)
    assert film.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_the_same_file_makes_the_same_object(tmp_path: Path) -> None:
    """Wrapping twice gives identical datasets; another picture or another name is another study and patient."""
    picture = save(Image.fromarray(_RAMP), tmp_path / "one.png")
    film = wrap_picture_file(picture)
    assert film == wrap_picture_file(picture)
    other_pixels = wrap_picture_file(save(Image.fromarray(_RAMP[::-1]), tmp_path / "sub.png"))
    other_name = wrap_picture_file(save(Image.fromarray(_RAMP), tmp_path / "two.png"))
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert len({film[keyword].value, other_pixels[keyword].value, other_name[keyword].value}) == 3
    assert all(film[f"{level}InstanceUID"].value.startswith("2.25.") for level in ("Study", "Series", "SOP"))


def test_one_name_in_two_folders_is_two_patients(tmp_path: Path) -> None:
    """Two different pictures with the same file name do not become one patient."""
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        save(Image.fromarray(_RAMP[number:]), tmp_path / str(number) / "film.png")
    first, second = (wrap_picture_file(tmp_path / str(number) / "film.png") for number in (1, 2))
    assert first.PatientName == second.PatientName == "film"
    assert first.PatientID != second.PatientID


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@example(stem="not \udcff utf-8")
@given(stem=st.text(min_size=1, max_size=60).filter(lambda text: "/" not in text and "\0" not in text))
def test_any_file_name_makes_a_harmless_patient(stem: str, tmp_path: Path) -> None:
    """Whatever a file is called, Patient ID and Name are short, printable, free of delimiters, and survive saving."""
    try:
        picture = tmp_path / f"{stem}.png"
        Image.fromarray(_RAMP).save(picture, format="PNG")
    except (OSError, UnicodeEncodeError):
        return  # the file system does not take the name
    film = wrap_picture_file(picture)
    film.save_as(tmp_path / "saved", enforce_file_format=True)
    saved = dcmread(tmp_path / "saved")
    assert saved.PatientID == film.PatientID
    assert saved.PatientName == film.PatientName
    for text in (film.PatientID, str(film.PatientName)):
        assert 0 < len(text) <= 64
        assert text.isprintable()
        assert not set(text) & set("\\^=")
        assert text == text.strip()


def test_a_wrapped_picture_is_valid_but_for_the_spacing_nobody_knows(tmp_path: Path) -> None:
    """The validator's one complaint is the missing Imager Pixel Spacing, which is left out on purpose."""
    film = wrap_picture_file(save(Image.fromarray(_RAMP), tmp_path / "film.png"))
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    validator = Path(sys.executable).with_name("dciodvfy")
    run = subprocess.run([validator, "-new", tmp_path / "film.dcm"], capture_output=True, text=True, check=False)
    errors = [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert "ImagerPixelSpacing" in errors[0]


def test_a_wrapped_picture_is_in_scope(tmp_path: Path) -> None:
    """Who sends a picture says it is a chest film, so it is looked at."""
    film = wrap_picture_file(save(Image.fromarray(_RAMP), tmp_path / "hand.png"))
    header = {element.keyword: str(element.value) for element in film if element.keyword != "PixelData"}
    assert assess_scope(header, ScopeRules()) is None


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"hello, world", b"%PDF-1.7" + bytes(200)])
def test_anything_else_is_not_an_image(content: bytes, tmp_path: Path) -> None:
    """What is neither DICOM, PNG nor JPEG is refused in one line that names the file, even under a picture's name."""
    path = tmp_path / "film.png"
    path.write_bytes(content)
    for read in (wrap_picture_file, read_image_file):
        with pytest.raises(InvalidInput) as caught:
            read(path)
        assert caught.value.code == "not_an_image"
        assert str(path) in caught.value.message
        assert "\n" not in caught.value.message


def test_a_broken_picture_is_refused(tmp_path: Path) -> None:
    """A picture whose pixels are cut off is refused and not shown half."""
    picture = save(Image.fromarray(np.random.default_rng(1).integers(0, 256, (99, 99), np.uint8)), tmp_path / "x.png")
    picture.write_bytes(picture.read_bytes()[:2000])
    with pytest.raises(InvalidInput) as caught:
        wrap_picture_file(picture)
    assert caught.value.code == "unreadable_picture"


def test_damaged_exif_is_told_as_a_broken_picture(tmp_path: Path) -> None:
    """A JPEG whose EXIF states a fraction where a text belongs, on which Pillow stumbles, is refused in one line."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 30
    path = tmp_path / "film.jpg"
    Image.fromarray(_RAMP).save(path, exif=exif)
    text, fraction = (struct.pack(">HHI", 0x010E, *kind) for kind in ((2, 31), (5, 1)))
    content = path.read_bytes()
    assert text in content
    path.write_bytes(content.replace(text, fraction))
    with pytest.raises(InvalidInput, match="broken picture"):
        wrap_picture_file(path)


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side: int, tmp_path: Path) -> None:
    """A small file that promises too many pixels is refused by its header alone."""
    with pytest.raises(InvalidInput) as caught:
        wrap_picture_file(png(tmp_path / "bomb.png", side, side))
    assert caught.value.code == "picture_too_large"


def test_a_deflated_bomb_is_refused_before_it_is_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small deflated DICOM file that holds gigabytes takes no more memory than any film may."""
    film = chest(3)
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    assert read_image_file(tmp_path / "film.dcm").PixelData == film.PixelData
    film.PixelData = bytes(8_000_000)
    film.save_as(tmp_path / "bomb.dcm", enforce_file_format=True)
    assert (tmp_path / "bomb.dcm").stat().st_size < 20_000
    monkeypatch.setattr(files, "MAX_PICTURE_BYTES", 4_000_000)
    with pytest.raises(InvalidInput, match=r"bomb\.dcm is larger than 4 MB") as refused:
        read_image_file(tmp_path / "bomb.dcm")
    assert refused.value.code == "picture_too_large"


def test_a_huge_file_is_not_even_read(tmp_path: Path) -> None:
    """A file above the limit is refused by its size."""
    path = save(Image.fromarray(_RAMP), tmp_path / "big.png")
    with path.open("r+b") as file:
        file.truncate(wrapping.MAX_PICTURE_BYTES + 1)
    with pytest.raises(InvalidInput) as caught:
        wrap_picture_file(path)
    assert caught.value.code == "picture_too_large"


def test_a_file_is_told_by_its_content(tmp_path: Path) -> None:
    """A JPEG named .dcm is wrapped, and a DICOM file named .png is read."""
    save(Image.fromarray(_RAMP), tmp_path / "a.jpg").rename(tmp_path / "a.dcm")
    film = chest()
    film.save_as(tmp_path / "b.png", enforce_file_format=True)
    assert "JPEG" in read_image_file(tmp_path / "a.dcm").DerivationDescription
    assert read_image_file(tmp_path / "b.png").SOPInstanceUID == film.SOPInstanceUID


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_dicom_without_file_meta_gets_one(syntax: str, tmp_path: Path) -> None:
    """A bare dataset is read in the encoding in which it was written, and gets a matching file meta."""
    film = chest()
    pixels = film.pixel_array
    bare = Dataset(film)
    bare.save_as(
        tmp_path / "bare", implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=False
    )
    assert (tmp_path / "bare").read_bytes()[:2] == b"\x08\x00"
    loaded = read_image_file(tmp_path / "bare")
    assert loaded.file_meta.TransferSyntaxUID == syntax
    assert loaded.file_meta.MediaStorageSOPInstanceUID == film.SOPInstanceUID
    assert (loaded.pixel_array == pixels).all()


@pytest.mark.skipif(not _FUJI.is_file(), reason="the real film from before Part 10 is not in this checkout")
def test_a_real_film_from_before_part_10_is_read() -> None:
    """A computed radiograph of 1995 without preamble and file meta decodes."""
    film = read_image_file(_FUJI)
    assert film.pixel_array.shape == (440, 440)
    assert film.file_meta.MediaStorageSOPClassUID == film.SOPClassUID


@pytest.mark.parametrize(
    "name", sorted(set(BAD_FILMS) - {"two_studies_one_accession_number", "one_sop_instance_uid_twice"})
)
def test_a_bad_film_is_still_loaded(name: str, tmp_path: Path) -> None:
    """Faults in the pixels or in single attributes are left for the scorer to report."""
    assert read_image_file(BAD_FILMS[name](tmp_path)).SOPInstanceUID


@pytest.mark.parametrize("keep", [132, 140, 300, 350])
def test_dicom_cut_off_in_its_header_is_refused(keep: int, tmp_path: Path) -> None:
    """A DICOM file that ends before it says what it is is refused as broken."""
    chest().save_as(tmp_path / "film.dcm", enforce_file_format=True)
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "film.dcm").read_bytes()[:keep])
    with pytest.raises(InvalidInput) as caught:
        read_image_file(tmp_path / "cut.dcm")
    assert caught.value.code == "unreadable_dicom"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(start=st.sampled_from([b"\x08\x00", b"\x02\x00", bytes(128) + b"DICM"]), rest=st.binary(max_size=400))
def test_garbage_that_starts_like_dicom_never_crashes(start: bytes, rest: bytes, tmp_path: Path) -> None:
    """Any bytes give a dataset or InvalidInput, and no other exception."""
    (tmp_path / "garbage").write_bytes(start + rest)
    try:
        read_image_file(tmp_path / "garbage")
    except InvalidInput as error:
        assert error.code in {"unreadable_dicom", "not_an_image"}  # noqa: PT017 - it may succeed too


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    """A folder gives its files sorted, recursively, without hidden, DICOMDIR and obviously unrelated ones."""
    for name in ("b/2.dcm", "b/10", "a.png", ".hidden/x.dcm", ".DS_Store", "DICOMDIR", "README.md", "labels.CSV", "c"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = [str(path.relative_to(tmp_path)) for path in open_study_files([tmp_path])]
    assert found == ["a.png", "c", "b/10", "b/2.dcm"]


def test_a_named_file_is_always_taken(tmp_path: Path) -> None:
    """A file that the caller names is not second-guessed."""
    path = tmp_path / "notes.md"
    path.touch()
    assert list(open_study_files([path])) == [path]


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    """A path that does not exist is an error, not an empty result."""
    with pytest.raises(InvalidInput) as caught:
        list(open_study_files([tmp_path / "nowhere"]))
    assert caught.value.code == "no_such_file"


def test_a_name_of_any_length_is_refused_by_name(tmp_path: Path) -> None:
    """What no disk can hold is a file that cannot be read, named by the caller or opened."""
    path = tmp_path / ("x" * 300)
    assert list(open_study_files([path])) == [path]
    with pytest.raises(InvalidInput, match="cannot be read: File name too long"):
        read_image_file(path)
