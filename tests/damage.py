"""Mutated inputs of every kind, the same for a number on every machine, and what reads them."""

import io
import random
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pydicom
from cine_files import write_dicom, write_pages, write_video
from PIL import Image
from volume_files import write_mha, write_nifti

from nerveceg_tf.data.cine import count_frames, read_cine
from nerveceg_tf.data.fixes import Fix, apply_fixes, read_fixes, write_fixes
from nerveceg_tf.data.folders.layouts import find_frames, find_images
from nerveceg_tf.data.frame import Frame, read_image, read_mask
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.data.rle import encode
from nerveceg_tf.errors import NervecegError

HEIGHT, WIDTH = SIZE = (48, 64)
MAX_READ = 40
_EARLY = 400
_NUMBERS = (0, 1, 2, 127, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_WORDS = ("", "-1", "0", "999999999999", "nan", "1e999", "\0", "ä", '"', "'", ";", "\t", ",,", "%s")
_DIGITS = re.compile(rb"\d+")


class Seed(NamedTuple):
    """An intact input.

    Attributes:
        kind: `"image"`, `"mask"`, `"table"` or `"run lengths"`: how it is read.
        name: name of the file; of a table, the path in the data folder.
        content: the bytes.
        is_text: words and numbers are mutated beside bytes.
    """

    kind: str
    name: str
    content: bytes
    is_text: bool = False


def make_seeds(folder: Path) -> dict[str, list[Seed]]:
    """Writes small intact files into a folder, and returns the inputs by group.

    Among the files are the data folders that tables describe: `flat/`, `pairs/` and `original/`.
    """
    random_numbers = np.random.default_rng(0)
    coarse = random_numbers.integers(0, 256, (6, 8), np.uint8)
    gray = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    sweep = np.stack([np.roll(gray, 9 * i, axis=1) for i in range(3)])
    mask = cv2.circle(np.zeros(SIZE, np.uint8), (30, 20), 9, 1, -1)
    seeds = {
        "stills": _stills(gray),
        "masks": _masks(mask),
        "pages": _written(folder, _PAGES, sweep),
        "dicom": _dicoms(folder, gray, sweep),
        "volumes": _written(folder, _VOLUMES, sweep),
        "videos": _written(folder, _VIDEOS, sweep) + _animations(sweep),
        "tables": _tables(folder, gray, mask),
        "run lengths": [Seed("run lengths", "1_1.tif", encode(mask).encode(), True)],
    }
    return seeds


# Of each group, how many of a hundred inputs. Videos take the most time by far.
SHARES = {
    "stills": 31,
    "masks": 12,
    "pages": 9,
    "dicom": 10,
    "volumes": 11,
    "videos": 3,
    "tables": 12,
    "run lengths": 12,
}


def mutated(seeds: dict[str, list[Seed]], seed: int, number: int) -> Seed:
    """Returns input `number` of the campaign `seed`."""
    dice = random.Random(f"{seed}/{number}")
    group = dice.choices(list(SHARES), list(SHARES.values()))[0]
    chosen = dice.choice(seeds[group])
    content = bytearray(chosen.content)
    reach = _EARLY if dice.random() < 0.5 else 2**31  # damage does most where a header is
    for _ in range(dice.choice((1, 1, 2, 3, 6))):
        change = dice.choice(_TEXT_CHANGES if chosen.is_text and dice.random() < 0.7 else _CHANGES)
        change(dice, content, dice.randrange(min(len(content), reach) or 1))
    if dice.random() < 0.03:
        other = dice.choice(seeds[dice.choice(list(SHARES))]).content
        content[dice.randrange(len(content) + 1) :] = other[dice.randrange(len(other)) :]
    return chosen._replace(content=bytes(content))


def read_input(item: Seed, folder: Path) -> None:
    """Reads an input as the package does.

    Args:
        item: the input.
        folder: where `make_seeds` wrote; the input is written there too.

    Raises:
        AssertionError: what was read is not a frame, or an error is not a line that names the file.
        Exception: anything but `NervecegError` is a fault of the package.
    """
    path = folder / item.name
    if item.kind != "run lengths":
        path.write_bytes(item.content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _READERS[item.kind](item, path)
        except NervecegError as error:
            message = str(error)
            assert "\n" not in message, f"several lines: {message!r}"
            is_named = str(path.parent) in message or path.stem in message
            assert is_named, f"names no file: {message!r}"


def _read_image(item: Seed, path: Path) -> None:
    images = read_cine(path) if count_frames(path) else iter([read_image(path)])
    for _ in range(MAX_READ):
        try:
            image = next(images, None)
        except NervecegError as error:
            if ": frame " not in str(error):
                raise
        else:
            if image is None:
                return
            assert image.dtype == np.uint8
            assert image.ndim == 2


def _read_mask(item: Seed, path: Path) -> None:
    for value in (None, "any", (1, 200)):
        frame = Frame("1_1", path, "1", path, read_options=ReadOptions(mask_value=value))
        try:
            mask = read_mask(frame, SIZE)
        except NervecegError:
            if value == (1, 200):
                raise
        else:
            assert mask.shape == SIZE
            assert set(np.unique(mask)) <= {0, 1}


def _read_run_lengths(item: Seed, path: Path) -> None:
    text = item.content.decode("utf-8", "replace")
    mask = read_mask(Frame("1_1", path, "1", text), SIZE)
    assert mask.shape == SIZE
    assert set(np.unique(mask)) <= {0, 1}
    assert encode(mask) == encode(read_mask(Frame("1_1", path, "1", encode(mask)), SIZE))


def _read_table(item: Seed, path: Path) -> None:
    folder = path.parent
    errors: list[NervecegError] = []
    frames = find_frames(folder, errors.append)
    find_images(folder)
    assert all("\n" not in str(error) for error in errors)
    if path.name == "fixes.csv":
        apply_fixes(frames, read_fixes(path))
    if not errors:
        find_frames(folder)


_READERS: dict[str, Callable[[Seed, Path], None]] = {
    "image": _read_image,
    "mask": _read_mask,
    "run lengths": _read_run_lengths,
    "table": _read_table,
}


def _set(dice: random.Random, content: bytearray, at: int) -> None:
    content[at : at + 1] = bytes([dice.randrange(256)])


def _flip(dice: random.Random, content: bytearray, at: int) -> None:
    if content:
        content[at] ^= 1 << dice.randrange(8)


def _cut(dice: random.Random, content: bytearray, at: int) -> None:
    del content[at:]


def _insert(dice: random.Random, content: bytearray, at: int) -> None:
    content[at:at] = dice.randbytes(dice.randrange(1, 12))


def _delete(dice: random.Random, content: bytearray, at: int) -> None:
    del content[at : at + dice.randrange(1, 40)]


def _blank(dice: random.Random, content: bytearray, at: int) -> None:
    length = min(dice.randrange(1, 600), len(content) - at)
    content[at : at + length] = bytes([dice.choice((0, 255))]) * length


def _repeat(dice: random.Random, content: bytearray, at: int) -> None:
    piece = content[at : at + dice.randrange(1, 60)]
    content[at:at] = piece * dice.randrange(1, 4)


def _number(dice: random.Random, content: bytearray, at: int) -> None:
    width, order = dice.choice((1, 2, 4, 8)), dice.choice(("little", "big"))
    value = dice.choice(_NUMBERS) % 2 ** (8 * width)
    content[at : at + width] = value.to_bytes(width, order)


def _word(dice: random.Random, content: bytearray, at: int) -> None:
    end = min(at + dice.randrange(12), len(content))
    content[at:end] = dice.choice(_WORDS).encode()


def _digits(dice: random.Random, content: bytearray, at: int) -> None:
    if found := _DIGITS.search(content, at):
        value = dice.choice((*_NUMBERS, -1, 10**9, 10**19, 0.5, int(found[0][:9]) + 1))
        content[found.start() : found.end()] = str(value).encode()


def _swap_lines(dice: random.Random, content: bytearray, at: int) -> None:
    lines = bytes(content).split(b"\n")
    first, second = dice.randrange(len(lines)), dice.randrange(len(lines))
    lines[first] = lines[second] if dice.random() < 0.5 else b""
    content[:] = b"\n".join(lines)


_CHANGES = (_set, _flip, _cut, _insert, _delete, _blank, _repeat, _number)
_TEXT_CHANGES = (_word, _digits, _swap_lines, _delete)


def _stills(gray: np.ndarray) -> list[Seed]:
    colours = np.stack([gray, gray[::-1], gray[:, ::-1]], -1)
    alpha = np.dstack([colours, gray])
    deep = gray.astype(np.uint16) * 257
    tiffs = [(pixels, kind) for pixels in (gray, colours) for kind in _TIFF_COMPRESSIONS]
    pillow = [
        *((Image.fromarray(pixels), "TIFF", {"compression": kind}) for pixels, kind in tiffs),
        (Image.fromarray(gray).convert("1"), "TIFF", {"compression": "group4"}),
        (Image.fromarray(gray).convert("P"), "TIFF", {}),
        (Image.fromarray(colours).convert("CMYK"), "TIFF", {}),
        (Image.fromarray(gray.astype(np.float32)), "TIFF", {}),
        (Image.fromarray(deep), "TIFF", {"compression": "tiff_lzw"}),
        *((Image.fromarray(pixels), "PNG", {}) for pixels in (gray, colours, alpha, deep)),
        (Image.fromarray(gray).convert("1"), "PNG", {}),
        (Image.fromarray(gray).convert("P"), "PNG", {}),
        (Image.fromarray(gray), "JPEG", {"exif": _turned()}),
        (Image.fromarray(colours), "JPEG", {"progressive": True}),
        (Image.fromarray(colours).convert("CMYK"), "JPEG", {}),
        *((Image.fromarray(pixels), "BMP", {}) for pixels in (gray, colours)),
        (Image.fromarray(gray).convert("1"), "BMP", {}),
        (Image.fromarray(colours), "WEBP", {}),
        (Image.fromarray(gray), "WEBP", {"lossless": True}),
    ]
    seeds = []
    for image, kind, options in pillow:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        seeds.append(Seed("image", f"still.{kind.lower()}", buffer.getvalue()))
    seeds.append(
        Seed("image", "still.png", cv2.imencode(".png", colours.astype("u2"))[1].tobytes())
    )
    return seeds


_TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _masks(mask: np.ndarray) -> list[Seed]:
    labels = mask.copy()
    labels[40:] = 2
    palette = Image.fromarray(labels).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    images = {
        "mask.tif": [Image.fromarray(mask), Image.fromarray(mask * 255).convert("1")],
        "mask.png": [
            palette,
            Image.fromarray(np.dstack([mask * 255] * 4)),
            Image.fromarray(labels),
        ],
        "mask.bmp": [Image.fromarray(mask * 255)],
        "mask.jpg": [Image.fromarray(mask * 255)],
    }
    images["mask.png"].append(Image.fromarray(mask.astype(np.uint16)))
    seeds = []
    for name, pictures in images.items():
        for picture in pictures:
            buffer = io.BytesIO()
            picture.save(buffer, Image.registered_extensions()[Path(name).suffix])
            seeds.append(Seed("mask", name, buffer.getvalue()))
    return seeds


_PAGES = {
    "pages.tif": write_pages,
    "raw_pages.tif": lambda path, sweep: write_pages(path, sweep, compression=None),
    "deflate_pages.tif": lambda path, sweep: write_pages(path, sweep, "tiff_adobe_deflate"),
}
_VOLUMES = {
    "volume.mha": lambda path, sweep: write_mha(path, sweep, spacing=(0.1, 0.2, 1)),
    "deep.mha": lambda path, sweep: write_mha(path, sweep.astype("i2") * 100),
    "packed.mha": lambda path, sweep: write_mha(path, sweep, packed=True),
    "beside.mhd": write_mha,
    "volume.nii": write_nifti,
    "floats.nii": lambda path, sweep: write_nifti(path, sweep.astype("f4"), scale=(2, 1)),
    "two.nii": lambda path, sweep: write_nifti(path, sweep, version=2),
    "volume.nii.gz": write_nifti,
}
_VIDEOS = {
    "video.avi": write_video,
    "video.mp4": lambda path, sweep: write_video(path, sweep, "mp4v"),
    "video.mkv": write_video,
    "video.webm": lambda path, sweep: write_video(path, sweep, "VP80"),
    "video.wmv": lambda path, sweep: write_video(path, sweep, "WMV2"),
    "video.mpg": lambda path, sweep: write_video(path, sweep, "MPG2"),
    "video.flv": lambda path, sweep: write_video(path, sweep, "FLV1"),
}


def _written(folder: Path, writers: dict[str, Callable], sweep: np.ndarray) -> list[Seed]:
    seeds = []
    for name, write in writers.items():
        write(folder / name, sweep)
        is_text = name.endswith((".mha", ".mhd"))
        seeds.append(Seed("image", name, (folder / name).read_bytes(), is_text))
    return seeds


def _animations(sweep: np.ndarray) -> list[Seed]:
    seeds = []
    for kind in ("GIF", "PNG", "WEBP"):
        buffer = io.BytesIO()
        first, *others = (Image.fromarray(image) for image in sweep)
        first.save(buffer, kind, save_all=True, append_images=others, duration=80)
        seeds.append(Seed("image", f"animation.{kind.lower()}", buffer.getvalue()))
    return seeds


def _dicoms(folder: Path, gray: np.ndarray, sweep: np.ndarray) -> list[Seed]:
    colours = np.stack([gray] * 3, -1)
    written = {
        "one.dcm": write_dicom(folder / "one.dcm", gray),
        "cine.dcm": write_dicom(folder / "cine.dcm", sweep),
        "deep.dcm": write_dicom(folder / "deep.dcm", gray.astype("<u2") * 16, bits=12),
        "colours.dcm": write_dicom(folder / "colours.dcm", colours, "RGB"),
    }
    for name, syntax in (("rle.dcm", pydicom.uid.RLELossless), ("jpeg.dcm", None)):
        dataset = pydicom.dcmread(written["cine.dcm"])
        if syntax:
            dataset.compress(syntax)
        else:
            jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in sweep]
            dataset.PixelData = pydicom.encaps.encapsulate(jpegs)
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
        dataset.save_as(folder / name)
        written[name] = folder / name
    return [Seed("image", name, path.read_bytes()) for name, path in written.items()]


def _tables(folder: Path, gray: np.ndarray, mask: np.ndarray) -> list[Seed]:
    names = [f"{subject}_{number}" for subject in (1, 2) for number in (1, 2)]
    for images, masks, end in (
        ("flat", None, ""),
        ("fixed", "fixed", "_mask"),
        ("pairs/images", "pairs/masks", ""),
        ("original/train/image", "original/train/mask", ""),
    ):
        for place in filter(None, (images, masks)):
            (folder / place).mkdir(parents=True, exist_ok=True)
        for name in names:
            cv2.imwrite(str(folder / images / f"{name}.tif"), gray)
            if masks:
                cv2.imwrite(str(folder / masks / f"{name}{end}.tif"), mask * 255)
    runs = "\n".join(f"{name.replace('_', ',')},{encode(mask)}" for name in names)
    texts = {
        "flat/train_masks.csv": f"subject,img,pixels\n{runs}\n",
        "pairs/frames.csv": "name,subject\n1_1,anna\n1_2,anna\n2_1,bert\n2_2,bert\n",
        "original/train_label.csv": "image,label\n1_1,1\n1_2,0\n2_1,1\n2_2,1\n",
    }
    steps = [Fix("1_1", "drop"), Fix("1_2", "copy_mask", "2_1", 1, -2)]
    write_fixes(folder / "fixed" / "fixes.csv", [*steps, Fix("2_1", "keep_together", "2_2")])
    texts["fixed/fixes.csv"] = (folder / "fixed" / "fixes.csv").read_text()
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [Seed("table", name, text.encode(), True) for name, text in texts.items()]
