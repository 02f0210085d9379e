"""The scan area of a DICOM: what is read, where masks lie, and what is measured in millimetres."""

import csv
import json
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
from cine_files import NAME, SURNAME, write_dicom, write_pages
from tiny import untrained_run

from nerveceg_tf.data import rle
from nerveceg_tf.data.folders.layouts import find_frames, find_images
from nerveceg_tf.data.frame import Frame, map_frames, read_image, read_mask
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.data.window import Window
from nerveceg_tf.errors import FrameError, NervecegWarning
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.mask_metrics import outline_distances, outline_distances_mm
from nerveceg_tf.inference.postprocess import MaskPostprocessor
from nerveceg_tf.inference.predict import FramePrediction, predict
from nerveceg_tf.inference.submission import SIZE, write_submission

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")
WHOLE = ReadOptions(region=False)
TOP, LEFT = 20, 30


@pytest.fixture(scope="module")
def screen(gray):
    """What a scanner shows: the scan area, a caption with a name, and a colour bar."""
    pixels = np.zeros((gray.shape[0] + 40, gray.shape[1] + 60), np.uint8)
    pixels[TOP : TOP + gray.shape[0], LEFT : LEFT + gray.shape[1]] = gray
    cv2.putText(pixels, NAME, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255)
    pixels[30:100, -20:-10] = np.linspace(255, 0, 70)[:, None]
    return pixels


@pytest.fixture(scope="module")
def scan(gray):
    """The region of the scan area."""
    return region(LEFT, TOP, LEFT + gray.shape[1] - 1, TOP + gray.shape[0] - 1)


def region(left, top, right, bottom, spatial=1, data=1, **tags):
    item = pydicom.Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial, data, 2
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = 0.01, 0.02
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def write(path, pixels, *regions, **tags):
    return write_dicom(path, pixels, SequenceOfUltrasoundRegions=list(regions), **tags)


COLOUR_BOX, SPECTRUM, M_MODE = (
    region(60, 40, 90, 80, data=2),
    region(0, 140, 150, 151, spatial=3, data=3),
    region(0, 0, 28, 60, spatial=2),
)


@pytest.mark.parametrize("place", [slice(0, 1), slice(0, 2)])
def test_only_the_scan_area_is_read(place, screen, scan, gray, tmp_path):
    pixels = screen if place == slice(0, 1) else np.stack([screen, screen])
    path = write(tmp_path / "a.dcm", pixels, scan)
    frames = find_images(path)
    assert len(frames) == (1 if pixels.ndim == 2 else 2)
    for frame, image in zip(frames, map_frames(lambda _, read: read(), frames), strict=True):
        np.testing.assert_array_equal(image, gray)
        assert frame.window == Window(TOP, LEFT, *gray.shape, screen.shape)
        assert frame.spacing == (0.2, 0.1)
        assert replace(frame, read_options=WHOLE).window is None
    index = None if pixels.ndim == 2 else 1
    np.testing.assert_array_equal(read_image(path, index, WHOLE), screen)


@pytest.mark.parametrize(
    ("others", "note"),
    [
        ([], ""),
        ([COLOUR_BOX], "colour Doppler lies over the tissue and is read with it"),
        ([SPECTRUM], "spectral Doppler beside the tissue is not read"),
        ([M_MODE, SPECTRUM], "M-mode and spectral Doppler beside the tissue is not read"),
        ([region(180, 30, 189, 99, data=14)], "a colour bar beside the tissue"),
        ([region(0, 0, 25, 25)], "has 2 regions of tissue, of which only the largest is read"),
        ([region(0, 0, 9, 9), region(5, 5, 400, 9)], ""),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_other_regions_are_skipped_by_name(others, note, first, screen, scan, gray, tmp_path):
    regions = [scan, *others] if first else [*others, scan]
    path = write(tmp_path / "a.dcm", screen, *regions)
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", NervecegWarning)
        np.testing.assert_array_equal(read_image(path), gray)
        read_image(write(tmp_path / "b.dcm", screen, *regions))  # once for each kind of file
    texts = [str(w.message) for w in noted if issubclass(w.category, NervecegWarning)]
    assert len(texts) == bool(note)
    assert all(note in text and str(path) in text for text in texts)


@pytest.mark.parametrize(
    ("regions", "names"),
    [
        ([SPECTRUM], "spectral Doppler"),
        ([COLOUR_BOX], "colour Doppler"),
        ([M_MODE, SPECTRUM, M_MODE], "M-mode and spectral Doppler"),
        ([region(0, 0, 99, 99, spatial=0, data=0)], "a region of another kind"),
    ],
)
def test_a_frame_without_tissue_is_refused_by_name(regions, names, screen, tmp_path):
    path = write(tmp_path / "a.dcm", screen, *regions)
    (frame,) = find_images(path)  # a file is named only if it is read
    message = f"a.dcm: has no region of 2-D tissue, only {names}; .*pass region=False"
    with pytest.raises(FrameError, match=message):
        read_image(frame.image)
    np.testing.assert_array_equal(read_image(path, options=WHOLE), screen)


def without(name):
    item = region(30, 20, 100, 100)
    del item[name]
    return item


@pytest.mark.parametrize(
    "bad",
    [
        region(30, 20, 400, 100),
        region(100, 20, 30, 100),
        region(30, 20, 40, 100),
        region(2**32 - 5, 20, 100, 100),
        without("RegionLocationMaxX1"),
        region(0, 0, 2**32 - 1, 2**32 - 1),
    ],
)
def test_a_region_that_cannot_be_is_noted_and_the_frame_read_whole(bad, screen, tmp_path):
    path = write(tmp_path / "a.dcm", screen, bad, PixelSpacing=[0.3, 0.4])
    with pytest.warns(NervecegWarning, match=r"a\.dcm: its scan area .* the whole frame is read"):
        np.testing.assert_array_equal(read_image(path), screen)
    assert find_images(path)[0].window is None
    assert find_images(path)[0].spacing == (0.3, 0.4)


def test_coordinates_may_end_behind_the_frame_or_cover_it(screen, tmp_path):
    height, width = screen.shape
    for right, bottom in ((width - 1, height - 1), (width, height)):
        path = write(tmp_path / "a.dcm", screen, region(0, 0, right, bottom))
        assert find_images(path)[0].window is None
        np.testing.assert_array_equal(read_image(path), screen)
    path = write(tmp_path / "a.dcm", screen, region(50, 60, width, height))
    np.testing.assert_array_equal(read_image(path), screen[60:, 50:])


def shared_spacing(down, right):
    measures, group = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = [down, right]
    group.PixelMeasuresSequence = [measures]
    return {"SharedFunctionalGroupsSequence": [group]}


@pytest.mark.parametrize(
    ("region_tags", "tags", "spacing"),
    [
        ({}, {}, (0.2, 0.1)),
        ({}, {"PixelSpacing": [1, 2]}, (0.2, 0.1)),
        ({"PhysicalDeltaY": -0.02}, {}, (0.2, 0.1)),
        ({"PhysicalUnitsXDirection": 4}, {}, None),
        ({"PhysicalUnitsXDirection": 4}, {"PixelSpacing": [1, 2]}, (1, 2)),
        ({"PhysicalDeltaX": 0.0}, {"PixelSpacing": [1, 2]}, (1, 2)),
        ({"PhysicalDeltaX": float("nan")}, {"PixelSpacing": [0, 2]}, None),
        (None, {"PixelSpacing": [1, 2]}, (1, 2)),
        (None, {"PixelSpacing": ["0.5", "0.25"]}, (0.5, 0.25)),
        (None, {"PixelSpacing": 1}, None),
        (None, {"ImagerPixelSpacing": [1, 2]}, None),
        (None, {"NominalScannedPixelSpacing": [1, 2]}, None),
        (None, shared_spacing(3, 4), (3, 4)),
        (None, {}, None),
    ],
)
def test_the_spacing_is_that_of_the_tissue(region_tags, tags, spacing, screen, tmp_path):
    regions = [] if region_tags is None else [region(30, 20, 100, 100, **region_tags)]
    path = write(tmp_path / "a.dcm", screen, *regions, **tags)
    found = find_images(path)[0].spacing
    assert found == (None if spacing is None else pytest.approx(spacing))


@pytest.fixture(scope="module")
def whole_mask(mask, screen):
    pixels = np.zeros(screen.shape, np.uint8)
    pixels[TOP : TOP + mask.shape[0], LEFT : LEFT + mask.shape[1]] = mask
    return pixels


def labelled(folder, screen, scan, masks, count=None):
    """`images/` and `masks/` with a DICOM; `masks` of one frame, or of each frame of a cine."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    pixels = screen if count is None else np.stack([screen] * count)
    write(folder / "images" / "a.dcm", pixels, scan)
    if count is None:
        cv2.imwrite(str(folder / "masks" / "a.png"), masks * 255)
    else:
        write_pages(folder / "masks" / "a.tif", [masks * 255] * count)
    return find_frames(folder)


@pytest.mark.parametrize("count", [None, 2])
def test_masks_have_the_whole_frame_or_the_scan_area(
    count, screen, scan, gray, mask, whole_mask, tmp_path
):
    for name, pixels in (("whole", whole_mask), ("area", mask)):
        (tmp_path / name).mkdir()
        for frame in labelled(tmp_path / name, screen, scan, pixels, count):
            np.testing.assert_array_equal(read_mask(frame, gray.shape), mask)
            np.testing.assert_array_equal(frame.as_whole(mask), whole_mask)


def test_run_lengths_are_of_the_whole_frame(screen, scan, gray, mask, whole_mask, tmp_path):
    (frame,) = find_images(write(tmp_path / "a.dcm", screen, scan))
    encoded = replace(frame, mask=rle.encode(whole_mask))
    np.testing.assert_array_equal(read_mask(encoded, gray.shape), mask)


def test_a_nerve_outside_of_the_scan_area_is_refused(screen, scan, gray, whole_mask, tmp_path):
    outside = whole_mask.copy()
    outside[2:4, 2:5] = 1
    (frame,) = labelled(tmp_path, screen, scan, outside)
    with pytest.raises(FrameError, match=r"a\.png: its mask has 6 nerve pixels outside .*a\.dcm"):
        read_mask(frame, gray.shape)
    whole = replace(frame, read_options=WHOLE)
    np.testing.assert_array_equal(read_mask(whole, screen.shape), outside)


def test_a_mask_of_another_size_is_refused(screen, scan, gray, tmp_path):
    (frame,) = labelled(tmp_path, screen, scan, np.ones((50, 60), np.uint8))
    with pytest.raises(FrameError, match="the mask is 60x50"):
        read_mask(frame, gray.shape)


def test_stills_have_neither_window_nor_spacing(samples, tmp_path, monkeypatch):
    monkeypatch.setattr("nerveceg_tf.data.dicom.header.read_header", None)
    frame = Frame("1_1", samples[0].image)
    assert (frame.window, frame.spacing) == (samples[0].window, samples[0].spacing) == (None, None)


@pytest.mark.parametrize("spacing", [(1, 1), (0.2, 0.2), (0.5, 0.1), (0.1, 0.5)])
def test_distances_in_millimetres_follow_the_axes(spacing):
    truth, down, right = np.zeros((3, 60, 70), np.uint8)
    truth[20:30, 20:40] = down[24:34, 20:40] = right[20:30, 24:44] = 1
    for moved, step in ((down, spacing[0]), (right, spacing[1])):
        pixels = outline_distances(truth, moved)
        scores = outline_distances_mm(truth, moved, spacing)
        assert scores.hausdorff_95_mm <= 4 * step * (1 + 1e-9)
        if spacing[0] == spacing[1]:
            expected = np.array(pixels[:2]) * step
            np.testing.assert_allclose(scores, expected)
        else:  # the same shape on a grid of square pixels, whose outline is a little thicker
            scale = np.round(np.array(spacing) / min(spacing)).astype(int)
            fine = [np.kron(m, np.ones(scale, np.uint8)) for m in (truth, moved)]
            expected = np.array(outline_distances(*fine)[:2]) * min(spacing)
            np.testing.assert_allclose(scores, expected, atol=max(spacing))
    assert np.isnan(outline_distances_mm(truth, down, None)).all()
    assert np.isnan(outline_distances_mm(truth, truth * 0, spacing)).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untrained_run(tmp_path_factory.mktemp("run") / "run")


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("count", [None, 2])
def test_predictions_lie_in_the_whole_frame_and_name_nobody(
    count, run, screen, scan, gray, tmp_path, run_command
):
    pixels = screen if count is None else np.stack([screen] * count)
    folder, out = tmp_path / "frames", tmp_path / "out"
    folder.mkdir()
    write(folder / "a.dcm", pixels, scan, SPECTRUM)
    cv2.imwrite(str(folder / "b.png"), gray)
    code, printed = run_command("predict", run.path, folder, "--out", out)
    assert code == 0, printed
    assert "spectral Doppler" in printed
    rows = {row["name"]: row for row in csv.DictReader((out / "presence.csv").open())}
    names = ["a"] if count is None else ["a_0000", "a_0001"]
    alone = cv2.imread(str(out / "masks" / "b.png"), -1)
    assert rows["b"]["nerve_mm2"] == ""
    for name in names:
        written = cv2.imread(str(out / "masks" / f"{name}.png"), -1)
        window = Window(TOP, LEFT, *gray.shape, screen.shape)
        np.testing.assert_array_equal(written, window.paste(alone))
        count_pixels = np.count_nonzero(written)
        assert int(rows[name]["nerve_pixels"]) == count_pixels
        assert float(rows[name]["nerve_mm2"]) == pytest.approx(count_pixels * 0.02, abs=1e-3)
    everything = printed.encode() + b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
    assert SURNAME.encode() not in everything
    code, printed = run_command("predict", run.path, folder, "--out", out, "--force", "--no-region")
    assert code == 0, printed
    assert cv2.imread(str(out / "masks" / f"{names[0]}.png"), -1).shape == screen.shape


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("declared", [True, False])
def test_evaluate_measures_in_millimetres_where_it_can(
    declared, run, screen, scan, gray, mask, whole_mask, tmp_path, run_command, monkeypatch
):
    moved = np.roll(mask, 3, 0).astype(np.float32)

    def predictions(_, frames, report=None):
        for frame, image in map_frames(lambda frame, read: (frame, read()), frames):
            window = Window(TOP, LEFT, *gray.shape, screen.shape)
            probability = moved if image.shape == gray.shape else window.paste(moved)
            yield FramePrediction(frame, image, 1.0, probability)

    monkeypatch.setattr("nerveceg_tf.evaluation.evaluate.predict_for_scores", predictions)
    labelled(tmp_path, screen, scan, whole_mask)
    cv2.imwrite(str(tmp_path / "images" / "b.png"), gray)
    cv2.imwrite(str(tmp_path / "masks" / "b.png"), 255 * (gray > 200).astype(np.uint8))
    if not declared:
        cv2.imwrite(str(tmp_path / "images" / "a.png"), screen)
        (tmp_path / "images" / "a.dcm").unlink()
    out, scores = tmp_path / "metrics.json", tmp_path / "scores.csv"
    code, printed = run_command(
        *("evaluate", run.path, tmp_path, "--subset", "unseen"),
        *("--json", out, "--csv", scores),
    )
    assert code == 0, printed
    metrics, rows = json.loads(out.read_text()), FrameScores.load(scores)
    assert ("mm" in printed.split()) == declared
    assert metrics["spacing_frames"] == declared
    if declared:
        measured = outline_distances_mm(mask, moved, (0.2, 0.1))
        found = metrics["hausdorff_95_mm"], metrics["surface_distance_mm"]
        np.testing.assert_allclose(found, measured)
        assert rows.hausdorff_95_mm[0] == pytest.approx(measured[0])
        assert metrics["distance_frames"] == 2
    else:
        assert metrics["hausdorff_95_mm"] is metrics["surface_distance_mm"] is None
    assert list(rows.name) == ["a", "b"]
    assert np.isnan(rows.hausdorff_95_mm[1])


@pytest.mark.usefixtures("eagerly")
def test_a_submission_has_masks_of_the_whole_frame(run, scan, gray, tmp_path):
    pixels = np.zeros(SIZE, np.uint8)
    pixels[TOP : TOP + gray.shape[0], LEFT : LEFT + gray.shape[1]] = gray
    frames = find_images(write(tmp_path / "1.dcm", pixels, scan))
    write_submission(run, frames, tmp_path / "submission.csv")
    (row,) = csv.DictReader((tmp_path / "submission.csv").open())
    ((*_, probability),) = predict(run.model(), frames)
    mask = MaskPostprocessor.from_run(run)(1.0, probability)
    expected = frames[0].as_whole(mask.astype(np.uint8))
    np.testing.assert_array_equal(rle.decode(row["pixels"], SIZE), expected)


def test_scores_of_earlier_versions_have_no_millimetres(tmp_path):
    columns = "name subject present presence passed dice ungated_dice ungated_tuned_dice"
    outlines = "hausdorff_95 surface_distance surface_dice_2 surface_dice_5"
    header = ",".join(f"{columns} {outlines}".split())
    (tmp_path / "frames.csv").write_text(f"{header}\na,1,1,.9,1,.8,.8,.8,3,2,.5,.9\n")
    scores = FrameScores.load(tmp_path / "frames.csv")
    assert scores.hausdorff_95 == [3]
    assert np.isnan(scores.hausdorff_95_mm).all()
