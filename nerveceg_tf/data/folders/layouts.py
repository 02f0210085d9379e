"""Finds the frames, masks and subjects of a folder, in any of four layouts."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from nerveceg_tf.data.folders.frame_table import read_frame_table
from nerveceg_tf.data.folders.labels import Labels, read_labels
from nerveceg_tf.data.folders.listing import RUN_LENGTHS, FoundFile, Listing, list_folder
from nerveceg_tf.data.folders.names import readable, stem
from nerveceg_tf.data.folders.pairing import (
    Found,
    Lost,
    frames_of,
    open_files,
    pair,
    without_repeated,
)
from nerveceg_tf.data.folders.rows import Column, Report, list_few, raise_error, read_rows
from nerveceg_tf.data.folders.subjects import find_subjects
from nerveceg_tf.data.formats import SUFFIXES
from nerveceg_tf.data.frame import Frame
from nerveceg_tf.data.read_options import AS_DECLARED, ReadOptions
from nerveceg_tf.errors import LayoutError

_RUN_LENGTH_COLUMNS = (Column("subject"), Column("img"), Column("pixels"))


def find_frames(
    folder: Path | str,
    report: Report | None = None,
    options: ReadOptions = AS_DECLARED,
    *,
    need_masks: bool = True,
    use_labels: bool = True,
) -> list[Frame]:
    """Lists the labelled frames of a folder, in the order of their names.

    The layout is the first of these that fits; only its files are read:

    1. `images/` and `masks/` with the same file stems, in the same subfolders if there are any.
    2. The original NerveCeg: `{train,test}/image` and `{train,test}/mask`. Frames in `test/` have
       `held_out=True`.
    3. Kaggle's "Ultrasound Nerve Segmentation": `{subject}_{n}.tif` and `{subject}_{n}_mask.tif`,
       in the subfolder `train/` if there is one, else in the folder. Masks may also be in `masks/`
       beside them, or in `train_masks.csv`.
    4. A folder for each subject, to any depth. The path below the data folder is the frame's name.
       Masks are beside the frames, or in `masks/` beside `images/`. This layout is also chosen over
       the third one if most images are in subfolders.

    A file is an image if its suffix or its content says so. It is a mask if it is in a folder of
    masks, or if its name begins or ends with `mask`, `seg`, `segmentation`, `label`, `annotation`
    or `gt`, separated by `_`, `-`, `.` or a blank. `scan_seg` is a frame if `scan_seg_mask` exists.
    `image`, `imgs`, `frames` and `mask`, `labels`, `annotations` are folders like `images` and
    `masks`. Capitals and the Unicode form of a name make no difference. Links to folders are
    followed once. What is left out is counted in one warning.

    The subject of a frame is, in this order:

    - in `frames.csv`, if it has a column for subjects (`nerveceg_tf.data.folders.rows.SUBJECT` has
      its names). The column `name` may contain suffixes and folders;
    - the first folder below the data folder, or below `images/`;
    - except with `images/`: the name up to the last `_NUMBER`, if at least two such prefixes occur.

    In each layout, `train_label.csv` and `test_label.csv` say which frames are in the set, and
    whether they have a nerve. The column `present` of `frames.csv` says only whether. Which table
    belongs to which frames, `nerveceg_tf.data.folders.label_tables.find_label_tables` describes. If
    a folder has both tables, the frames of `test_label.csv` have `held_out=True`.

    The frames of a cine `sweep` are named `sweep_0000`, `sweep_0001` and so on. Their masks are a
    multi-page TIFF with the name of the cine, or files with the names of the frames. For a
    truncated cine, only the remaining frames are listed; masks and table rows of the missing frames
    are ignored.

    Args:
        folder: the data folder.
        report: function that is called with the error of each file that has no partner or cannot be
            opened, and of each row of a table without a frame. `None`: the first error is raised.
        options: how to read the files.
        need_masks: whether a frame that a table labels needs a mask too.
        use_labels: whether to read labels; if not, each frame with a mask is in the set.

    Returns:
        One `Frame` per image with a mask, in the order of their names (`1_2` before `1_10`).

    Raises:
        FrameError: a cine or a mask file cannot be opened.
        LayoutError: the folder is missing or contains no frames, a frame or a mask has no partner,
            or a table is wrong, lists a missing frame, or a frame twice.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> frames = find_frames(SAMPLES)
        >>> len(frames), frames[0].name, frames[0].subject
        (120, '1_1', '1')
    """
    folder, stop = _existing(Path(folder)), report or raise_error
    listing = list_folder(folder)
    found, lost = open_files(listing.frames, stop), Lost(listing.frames)
    found = without_repeated(found, folder, report)
    masks = open_files(listing.masks, stop)
    run_lengths = _read_run_lengths(listing.table(RUN_LENGTHS), stop) if _is_flat(listing) else {}
    table = read_frame_table(listing, found, lost, stop)
    labels = read_labels(listing, found, table, lost, stop) if use_labels else Labels()
    if need_masks and labels.present and not masks and not run_lengths:
        raise _no_masks(listing, labels)
    unmasked = () if need_masks else labels.present
    advice = partial(_advice, listing, need_masks)
    labelled = pair(found, masks, run_lengths, advice, lost, stop, labels.left_out, unmasked)
    if not labelled and not report:
        expected = (
            "; expected {subject}_{n}.tif with _mask.tif (Kaggle), images/ with masks/, train/image"
            " with train/mask, or a folder for each subject"
        )
        raise _no_frames(listing, expected)
    subjects = find_subjects(listing, table, labelled)
    listing.left_out.warn(folder)
    return [
        replace(
            item.frame,
            subject=subject,
            mask=item.mask,
            mask_index=item.mask_index,
            held_out=item.file.subset == "test" or item.frame.name in labels.held_out,
            present=labels.present.get(item.frame.name),
            read_options=options,
        )
        for item, subject in zip(labelled, subjects, strict=True)
    ]


def find_images(
    path: Path | str, options: ReadOptions = AS_DECLARED, report: Report | None = None
) -> list[Frame]:
    """Lists the frames of a folder or of one file. Masks are not needed.

    The files of a folder are found as by `find_frames`. Masks are left out.

    Args:
        path: a folder, an image or a cine.
        options: how to read the files.
        report: function that is called with the error of each file that cannot be opened, or has
            the name of another one. `None`: the first error is raised.

    Returns:
        One `Frame` without a mask per image, or per frame of a cine (multi-page TIFF, DICOM with
        several frames, video).

    Raises:
        FrameError: a cine cannot be opened.
        LayoutError: the path is missing, the folder contains no frames, or two frames have the same
            name.

    Example:
        >>> from nerveceg_tf.data.bundled import SAMPLES
        >>> [frame.name for frame in find_images(SAMPLES / "test")[:3]]
        ['1', '2', '3']
    """
    path = Path(path)
    if path.is_file():
        name = stem(readable(path.name))
        found = frames_of(FoundFile(path, name, name, name))
    else:
        listing = list_folder(_existing(path))
        if not listing.frames:
            raise _no_frames(listing, f" ({', '.join(SUFFIXES)})", len(listing.masks))
        found = open_files(listing.frames, report or raise_error)
        if not found and not report:
            raise _no_frames(listing, "", len(listing.masks))
        found = without_repeated(found, path, report)
        listing.left_out.warn(path, len(listing.masks))
    return [replace(item.frame, read_options=options) for item in found]


def _is_flat(listing: Listing) -> bool:
    return listing.layout in ("kaggle", "folders")


def _no_masks(listing: Listing, labels: Labels) -> LayoutError:
    return LayoutError(
        f"{listing.folder}: has no masks, only the labels in {' and '.join(labels.tables)}; add the"
        ' masks, or train a gate alone with train(only="gate")'
    )


def _advice(listing: Listing, need_masks: bool, item: Found) -> str:
    """Returns what to add for a frame without a mask."""
    file = _mask_of(listing, item)
    return file if need_masks else f"{file}, or its label to a table"


def _mask_of(listing: Listing, item: Found) -> str:
    name, folder = item.frame.name, listing.folder
    if listing.layout == "images":
        return f"{name}.png in {folder / 'masks'}"
    if listing.layout == "original":
        return f"{name}.png in {folder / item.file.subset / 'mask'}"
    if listing.layout == "folders":
        return f"{name.rsplit('/', 1)[-1]}_mask.png beside it"
    return f"{name}_mask.tif or a row in {RUN_LENGTHS}"


def _read_run_lengths(path: Path, report: Report) -> dict[str, str]:
    rows: dict[str, str] = {}
    repeated = []
    for row in read_rows(path, _RUN_LENGTH_COLUMNS, report) or []:
        name = readable(f"{row['subject']}_{row['img']}")
        if name in rows:
            repeated.append(name)
        rows[name] = row["pixels"]
    if repeated:
        report(LayoutError(f"{path}: lists {list_few(repeated)} twice; keep one row of each"))
    return rows


def _no_frames(listing: Listing, expected: str, masks: int = 0) -> LayoutError:
    left_out = listing.left_out.describe(masks)
    text = f"{listing.folder}: contains no frames{expected}"
    return LayoutError(f"{text}; {left_out}" if left_out else text)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise LayoutError(f"{folder}: there is no such folder")
    if (folder / "run.json").is_file():
        raise LayoutError(f"{folder}: is a run folder without frames; name a folder of frames")
    return folder
