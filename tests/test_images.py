"""Reading image files: the right values for every kind of file, and one typed error for everything else."""

import io
import os
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from lightnet.data.images import list_images, read_image
from lightnet.errors import ImageError

RAMP = np.arange(60, dtype=np.uint8).reshape(6, 10) * 4
SIDES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


def encode(image, format, **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, format, **options)
    return file.getvalue()


def decode(data):
    return read_image(io.BytesIO(data), name="some.png")


def png(width, height, depth, colour, *chunks):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in [(b"IHDR", header), *chunks, (b"IEND", b"")])


# Values

@given(hnp.arrays(np.uint8, SIDES), st.sampled_from(["PNG", "TIFF", "BMP", "PPM"]))
def test_8_bit_grey_is_divided_by_255(values, format):
    grey = decode(encode(values, format))
    assert grey.dtype == np.float32 and np.array_equal(grey, values.astype(np.float32) / 255)


@given(hnp.arrays(np.uint16, SIDES), st.sampled_from(["PNG", "TIFF", "PPM"]))
def test_16_bit_grey_is_divided_by_65535(values, format):
    np.testing.assert_allclose(decode(encode(values, format)), values / 65535, rtol=1e-6)


def test_32_bit_integers_are_16_bit_data_or_scaled_by_their_own_range():
    hounsfield = np.array([[-1000, 0, 3000]], np.int32)
    np.testing.assert_allclose(decode(encode(hounsfield, "TIFF")), [[0, 0.25, 1]])
    np.testing.assert_allclose(decode(encode(np.array([[0, 13107]], np.int32), "TIFF")), [[0, 0.2]])


@given(hnp.arrays(np.float32, SIDES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_floats_stay_in_0_to_1_and_are_scaled_otherwise(values):
    grey = decode(encode(values, "TIFF"))
    wide = values.astype(np.float64)
    if wide.min() < 0 or wide.max() > 1:
        wide = (wide - wide.min()) / (np.ptp(wide) or 1)
    np.testing.assert_allclose(grey, wide, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(value):
    values = np.full((4, 4), 0.5, np.float32)
    values[1, 2] = value
    with pytest.raises(ImageError, match=r"some\.png: 1 values are NaN or infinite; expected finite"):
        decode(encode(values, "TIFF"))


@pytest.mark.parametrize("mode, format", [
    ("RGB", "PNG"), ("RGB", "BMP"), ("RGB", "TIFF"), ("RGB", "PPM"), ("P", "PNG"), ("P", "GIF"), ("1", "PNG"),
    ("1", "TIFF"), ("CMYK", "TIFF"), ("CMYK", "JPEG"), ("L", "JPEG"), ("RGB", "JPEG"), ("L", "JPEG2000")])
def test_other_modes_become_luma(mode, format):
    data = encode(Image.fromarray(RAMP).convert(mode), format)
    seen = np.asarray(Image.open(io.BytesIO(data)).convert("L")) / 255
    np.testing.assert_allclose(decode(data), seen, atol=1e-6)
    if mode != "1":
        np.testing.assert_allclose(seen, RAMP / 255, atol=0.06)


def test_luma_weights():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(decode(encode(colours, "PNG")), [[0.299, 0.587, 0.114]], atol=0.5 / 255)


# Transparency, on black

@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_composited_on_black(mode, format):
    image = Image.fromarray(np.full((8, 8), 255, np.uint8)).convert(mode)
    image.putalpha(51)
    grey = decode(encode(image, format, **({"lossless": True} if format == "WEBP" else {})))
    np.testing.assert_allclose(grey, np.full((8, 8), 0.2), atol=1e-6)


def test_transparent_palette_entry_is_black():
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([255, 255, 255, 102, 102, 102])
    np.testing.assert_allclose(decode(encode(image, "PNG", transparency=0)), [[0, 0.4]], atol=1e-6)
    np.testing.assert_allclose(decode(encode(image, "PNG", transparency=bytes([51, 255]))), [[0.2, 0.4]], atol=1e-6)
    np.testing.assert_allclose(decode(encode(image, "PNG")), [[1, 0.4]], atol=1e-6)


def test_transparent_grey_value_is_black():
    pixels = zlib.compress(b"\0" + bytes([200, 100]))
    data = png(2, 1, 8, 0, (b"tRNS", struct.pack(">H", 200)), (b"IDAT", pixels))
    np.testing.assert_allclose(decode(data), [[0, 100 / 255]], atol=1e-6)
    pixels = zlib.compress(b"\0" + struct.pack(">HH", 50_000, 13_107))
    data = png(2, 1, 16, 0, (b"tRNS", struct.pack(">H", 50_000)), (b"IDAT", pixels))
    np.testing.assert_allclose(decode(data), [[0, 0.2]], atol=1e-6)


# Orientation and frames

# What is stored is the picture turned by the inverse of these (EXIF 2.32, tag 274)
UPRIGHT = {1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: np.transpose,
           6: lambda x: np.rot90(x, -1), 7: lambda x: np.rot90(x, 2).T, 8: np.rot90}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format, kind", [("PNG", "u1"), ("TIFF", "u1"), ("PNG", "u2"), ("TIFF", "f4")])
def test_exif_orientation_is_applied_once(orientation, format, kind):
    stored, exif = RAMP.astype(kind), Image.Exif()
    exif[0x0112] = orientation
    full = {"u1": 255, "u2": 65535, "f4": RAMP.max()}[kind]
    expected = UPRIGHT[orientation](RAMP / full)
    np.testing.assert_allclose(decode(encode(stored, format, exif=exif)), expected, atol=1e-6)


@pytest.mark.parametrize("format", ["GIF", "TIFF", "PNG", "WEBP"])
def test_first_frame_is_read_and_said(format):
    frames = [Image.fromarray(np.full((5, 5), value, np.uint8)) for value in (51, 102, 204)]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="some.png holds several frames; the first one") as said:
        grey = decode(data)
    assert len(said) == 1
    np.testing.assert_allclose(grey, np.full((5, 5), 0.2), atol=0.02)


def test_a_single_frame_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for format in ("GIF", "TIFF", "PNG", "WEBP", "JPEG"):
            decode(encode(RAMP, format))


# By content, from a path or an open file

@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"])
def test_suffix_is_ignored(tmp_path, format):
    for name in ("x.png", "x.jpg", "x", "x.txt"):
        (tmp_path / name).write_bytes(encode(RAMP, format))
        np.testing.assert_allclose(read_image(tmp_path / name), RAMP / 255, atol=0.05)


def test_path_may_be_a_string_and_a_file_an_open_one(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(encode(RAMP, "PNG"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "x.png")
    with open(path, "rb") as file, zipfile.ZipFile(tmp_path / "x.zip") as archive, archive.open("x.png") as member:
        for source in (str(path), file, member):
            assert np.array_equal(read_image(source), RAMP.astype(np.float32) / 255)
        assert not file.closed


# Refusals

PNG = encode(RAMP, "PNG")
DAMAGED_PIXEL = bytearray(PNG)
DAMAGED_PIXEL[PNG.index(b"IDAT") + 12] ^= 1
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"


@pytest.mark.parametrize("data, found", [
    (b"", "an empty file"),
    (b"not an image\n", "a text file that starts with 'not an image"),
    (EPS, "a text file that starts with '%!PS"),
    (bytes(128) + b"DICM" + bytes(100), "a DICOM file .export it as PNG"),
    (b"\x1f\x8b\x08\x00" * 50, "no known image; it starts with"),
    (PNG[:20], "damaged"),
    (PNG[:-30], "damaged"),
    (bytes(DAMAGED_PIXEL), "damaged"),
    (png(100_000, 100_000, 8, 0, (b"IDAT", zlib.compress(b""))), "10,000,000,000 pixels"),
    (png(12_000, 9_000, 8, 0, (b"IDAT", zlib.compress(b""))), "12000 x 9000 = 108,000,000 pixels"),
    (encode(RAMP, "JPEG")[:-40], "damaged"),
    (encode(RAMP, "TIFF")[:-40], "damaged"),
], ids=["empty", "text", "EPS", "DICOM", "gzip", "PNG header cut", "PNG end cut", "PNG damaged pixel", "10 gigapixels",
        "108 megapixels", "JPEG cut", "TIFF cut"])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_refusals_name_the_file_and_what_was_found(tmp_path, data, found):
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=rf"bad\.png: .*{found}.*; expected"):
        read_image(path)


def test_what_is_no_regular_file_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match=r"absent\.png: No such file"):
        read_image(tmp_path / "absent.png")
    with monkeypatch.context() as locked:                               # to root, who may run this, no folder is
        locked.setattr(os, "access", lambda *asked: False)
        assert list_images([tmp_path]) == [tmp_path]
        with pytest.raises(ImageError, match="a folder that cannot be read; expected the path"):
            read_image(tmp_path)
    with pytest.raises(ImageError, match="a folder; expected the path of an image file"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="null byte"):
        read_image("a\0b.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png: no regular file"):
        read_image(tmp_path / "pipe.png")


def only_image_error(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            grey = decode(data)
        except ImageError as error:
            assert str(error).startswith("some.png: ")
        else:
            assert grey.ndim == 2 and grey.dtype == np.float32 and 0 <= grey.min() <= grey.max() <= 1


MAGIC = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"MM\0*", b"BM", b"GIF89a", b"RIFF\0\1\0\0WEBP",
         b"P5 ", b"P6 "]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=300))
def test_random_bytes_raise_nothing_else(magic, rest):
    only_image_error(magic + rest)


WHOLE = [encode(Image.fromarray(RAMP).convert(mode), format)
         for mode, format in [("L", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("RGB", "JPEG"), ("F", "TIFF"), ("1", "TIFF"),
                              ("RGBA", "TIFF"), ("RGB", "BMP"), ("P", "GIF"), ("RGBA", "WEBP"), ("L", "PPM"),
                              ("L", "JPEG2000")]]
EDITS = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), max_size=4)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(WHOLE), EDITS, st.floats(0.2, 1.5))
def test_mutated_files_raise_nothing_else(data, edits, length):
    for where, bytes_in, bytes_out in edits:
        at = int(where * len(data))
        data = data[:at] + bytes_in + data[at + bytes_out:]
    only_image_error(data[:int(length * len(data))])


# Listing

def test_list_images_takes_suffixes_recursively_and_sorted(tmp_path):
    for name in ("b.PNG", "a/z.jpeg", "a/b/c.tif", "notes.txt", "._b.png", ".thumbs/x.png", "__MACOSX/a/._z.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in list_images([tmp_path])]
    assert found == ["a/b/c.tif", "a/z.jpeg", "b.PNG"]
    named = [tmp_path / "notes.txt", tmp_path / "absent"]
    assert list_images([*named, tmp_path / "a" / "b"]) == [*named, tmp_path / "a" / "b" / "c.tif"]
