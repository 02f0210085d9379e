"""The audit finds the planted errors and little else; its fixes repair them; no file changes."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from cine_files import write_pages
from planting import plant

from nerveceg_tf.audit.audit import KINDS, Audit, Finding, audit_frames
from nerveceg_tf.audit.page import audit_page
from nerveceg_tf.audit.suggest import suggest_fixes
from nerveceg_tf.data.bundled import SAMPLES
from nerveceg_tf.data.fixes import Fix, apply_fixes, read_fixes, write_fixes
from nerveceg_tf.data.folders.layouts import find_frames
from nerveceg_tf.data.frame import read_image, read_mask
from nerveceg_tf.data.near_duplicates import compare
from nerveceg_tf.data.read_options import ReadOptions
from nerveceg_tf.errors import LayoutError, NervecegWarning


def pairs(found, kind):
    return {frozenset(finding.names) for finding in found.of_kind(kind)}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(SAMPLES, tmp_path_factory.mktemp("audit") / "data", 8, 12, 5)


@pytest.fixture(scope="module")
def found(planted):
    return audit_frames(planted.folder)


def test_everything_planted_is_found_and_nothing_else(planted, found):
    assert pairs(found, "duplicate") == planted.duplicates
    assert pairs(found, "contradiction") == planted.contradictions
    assert pairs(found, "leak") == planted.leaks
    assert not found.of_kind("unreadable") + found.of_kind("unpaired") + found.of_kind("odd size")


def test_the_bundled_frames_are_clean():
    assert audit_frames(SAMPLES).findings == ()


@pytest.mark.slow
@pytest.mark.data
def test_on_a_large_set_all_is_found_and_what_else_is_found_is_true(shared_data, tmp_path):
    """Of what was not planted, everything but four pairs is equal in almost every pixel."""
    planted = plant(shared_data / "kaggle-uns", tmp_path / "data", 24, 40, 10)
    found = audit_frames(planted.folder)
    assert pairs(found, "duplicate") >= planted.duplicates
    assert pairs(found, "contradiction") >= planted.contradictions
    assert pairs(found, "leak") >= planted.leaks
    named = planted.duplicates | planted.contradictions | planted.leaks
    copies = {name for pair in named for name in pair if "_" in name and name[0].isalpha()}
    false_alarms = []
    for finding in found.findings:
        if finding.exact or copies & set(finding.names):
            continue
        one, other = (read_image(found.frames[name].image).astype(float) for name in finding.names)
        if not np.quantile(np.abs(one - other), 0.9) < 24:
            false_alarms.append(finding)
    assert len(false_alarms) < 5, false_alarms


@pytest.mark.parametrize("shift", [(0, 0), (3, -3), (-2, 1)])
def test_the_shift_between_twins_is_measured(gray, shift):
    move = np.float32([[1, 0, shift[1]], [0, 1, shift[0]]])
    moved = cv2.warpAffine(gray, move, gray.shape[::-1])
    twins = compare(gray, moved)
    measured = [round(part * side) for part, side in zip(twins.shift, gray.shape, strict=True)]
    assert tuple(measured) == shift
    assert twins.similarity > 0.99


def test_other_frames_are_no_twins(few):
    one, other = (read_image(few[i].image) for i in (0, 2))
    assert compare(one, other[: one.shape[0], : one.shape[1]]) is None


def test_a_gray_frame_has_no_twin_and_no_crash(gray):
    flat = np.full_like(gray, 7)
    assert compare(flat, gray) is None


def test_files_that_cannot_be_used_are_findings(kaggle):
    train = kaggle / "train"
    images = sorted(p for p in train.iterdir() if "_mask" not in p.name)
    images[0].write_bytes(images[0].read_bytes()[:500])
    (train / f"{images[1].stem}_mask.tif").unlink()
    mask = cv2.imread(str(train / f"{images[2].stem}_mask.tif"), -1)
    cv2.imwrite(str(train / f"{images[2].stem}_mask.tif"), mask[:-1])
    mask = np.full_like(mask, 9)
    mask[0, :3] = 0, 90, 255
    cv2.imwrite(str(train / f"{images[3].stem}_mask.tif"), mask)
    small = cv2.imread(str(images[4]), -1)[:-4]
    cv2.imwrite(str(images[4]), small)
    cv2.imwrite(str(train / f"{images[4].stem}_mask.tif"), np.zeros_like(small))
    found = audit_frames(kaggle)
    unusable = {finding.names[0] for finding in found.of_kind("unreadable")}
    assert unusable == {images[i].stem for i in (0, 2, 3)}
    (unpaired,) = found.of_kind("unpaired")
    assert f"{images[1]}: has no mask" in unpaired.detail
    (odd,) = found.of_kind("odd size")
    assert odd.names == (images[4].stem,)


def recoloured(folder, change):
    """Changes every mask of a folder in Kaggle's layout."""
    for path in sorted((folder / "train").glob("*_mask.tif")):
        cv2.imwrite(str(path), change(cv2.imread(str(path), -1)))
    return audit_frames(folder)


def test_masks_with_swapped_colours_are_findings(kaggle):
    found = recoloured(kaggle, lambda mask: 255 - mask)
    assert {finding.names[0] for finding in found.of_kind("inverted")} == found.frames.keys()
    for finding in found.of_kind("inverted"):
        assert "are the colours the wrong way round?" in finding.detail
    assert "wrong way round" in audit_page(found)
    assert found.as_json()["counts"]["inverted"] == 8
    assert not [fix for fix in suggest_fixes(found) if "inverted" in fix.reason]


def test_large_masks_are_findings_only_where_most_are_large(kaggle):
    def large(mask):
        mask[2:-2, 2:-2] = 255
        return mask

    assert len(recoloured(kaggle, large).of_kind("inverted")) == 8
    masks = sorted((kaggle / "train").glob("*_mask.tif"))
    for path in masks[:4]:
        cv2.imwrite(str(path), 0 * cv2.imread(str(path), -1))
    assert not audit_frames(kaggle).of_kind("inverted")
    cv2.imwrite(str(masks[0]), np.full_like(cv2.imread(str(masks[0]), -1), 255))
    (finding,) = [f for f in audit_frames(kaggle).of_kind("inverted") if "border" in f.detail]
    assert finding.names == (masks[0].stem.removesuffix("_mask"),)


def test_a_mask_value_that_no_mask_has_is_noted(kaggle):
    with pytest.warns(NervecegWarning, match="mask_value=7,9: none of the 8 mask files has"):
        found = audit_frames(kaggle, options=ReadOptions(mask_value=(7, 9)))
    assert not any(found.present.values())


def test_the_fixes_repair_the_findings(planted, found, tmp_path):
    write_fixes(tmp_path / "plan.csv", suggest_fixes(found))
    steps = read_fixes(tmp_path / "plan.csv")
    assert steps == suggest_fixes(found)
    frames, dropped, linked_pairs = apply_fixes(find_frames(planted.folder), steps)
    names = {frame.name for frame in frames}
    for duplicate in planted.duplicates:
        assert len(duplicate & names) == 1
    assert {frozenset(pair) for pair in linked_pairs} == planted.leaks
    assert {frame.name for frame in dropped} == found.frames.keys() - names
    fixed = {frame.name: frame for frame in frames}
    for number in range(12):
        pair = next(p for p in planted.contradictions if f"twin_{number}" in p)
        if number % 2:
            assert not pair & names  # both have a nerve, and nobody knows which is right
            continue
        (source,) = pair - {f"twin_{number}"}
        twin = fixed[f"twin_{number}"]
        shape = read_image(twin.image).shape
        copied, original = (read_mask(f, shape) for f in (twin, fixed[source]))
        assert copied.any()
        down, right = twin.mask_shift
        back = np.roll(copied, (-down, -right), (0, 1))
        assert 2 * (back & original).sum() / (back.sum() + original.sum()) > 0.9
        assert max(abs(down), abs(right)) <= 3


def test_nothing_in_the_data_is_changed(planted, tmp_path, nerveceg):
    before = {p: p.read_bytes() for p in planted.folder.rglob("*") if p.is_file()}
    code, _, _ = nerveceg("audit", planted.folder, "--fixes", tmp_path / "plan.csv")
    assert code == 0
    assert {p: p.read_bytes() for p in planted.folder.rglob("*") if p.is_file()} == before


def test_the_command_prints_and_writes_all_three(planted, nerveceg, tmp_path):
    out = {kind: tmp_path / f"audit.{kind}" for kind in ("html", "json", "csv")}
    arguments = ("--report", out["html"], "--json", out["json"], "--fixes", out["csv"])
    code, printed, _ = nerveceg("audit", planted.folder, *arguments)
    assert code == 0
    for title in KINDS.values():
        assert title[:30] in printed
    content = json.loads(out["json"].read_text())
    assert content["counts"]["contradiction"] == 12
    assert content["frames"] == 120 + 25
    assert sum(subject["frames"] for subject in content["subjects"]) == content["frames"]
    rows = list(csv.DictReader(out["csv"].open()))
    assert {row["action"] for row in rows} == {"drop", "copy_mask", "keep_together"}
    assert out["html"].read_text().count("<figure>") > 2 * 25


def test_the_page_needs_nothing_else(found):
    page = audit_page(found)
    assert "http" not in page
    assert "<script" not in page
    assert page.count('src="data:image/jpeg;base64,') == page.count("<img ")
    assert page.count("alt=") == page.count("<img ")


def test_names_are_escaped_in_the_page(kaggle):
    train = kaggle / "train"
    image = next(p for p in train.iterdir() if "_mask" not in p.name)
    for suffix in ("", "_mask"):
        shutil.copy(train / f"{image.stem}{suffix}.tif", train / f"<b>x{suffix}.tif")
    page = audit_page(audit_frames(kaggle))
    assert "&lt;b&gt;x" in page
    assert "<b>x" not in page


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1_1,remove,,0,0,", "line 2: unknown action remove; use one of drop"),
        ("1_1,copy_mask,,0,0,", "line 2: copy_mask needs a name and a source"),
        ("1_1,drop,,a,0,", "line 2: down and right must be whole numbers"),
        ("1_1,copy_mask,1_2,0,99999,", r"line 2: down and right .* -500\.\.500"),
    ],
)
def test_wrong_rows_of_a_plan_are_named(tmp_path, row, message):
    plan = tmp_path / "plan.csv"
    plan.write_text(f"name,action,source,down,right,reason\n{row}\n")
    with pytest.raises(LayoutError, match=message):
        read_fixes(plan)


def test_other_wrong_plans_are_named(tmp_path, samples):
    with pytest.raises(LayoutError, match="cannot be read"):
        read_fixes(tmp_path / "none.csv")
    (tmp_path / "plan.csv").write_text("name,action\n")
    with pytest.raises(LayoutError, match="has no column 'source' and no column 'down'"):
        read_fixes(tmp_path / "plan.csv")
    with pytest.raises(LayoutError, match="drop 99_99: the data has no frame 99_99"):
        apply_fixes(samples, [Fix("99_99", "drop")])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("1_1", "drop"), ("1_2", "copy_mask", "1_1")], "its source 1_1 is changed by the fixes"),
        ([("1_1", "drop"), ("1_1", "copy_mask", "1_2")], "1_1: another row changes this"),
        (
            [("1_1", "copy_mask", "1_2"), ("1_1", "copy_mask", "2_1")],
            "1_1: another row changes this",
        ),
        ([("1_1", "copy_mask", "1_2"), ("1_2", "copy_mask", "2_1")], "source 1_2 is changed"),
        ([("1_1", "copy_mask", "1_1")], "1_1: is its own source"),
        ([("1_1", "keep_together", "1_1")], "1_1: is its own source"),
    ],
)
def test_steps_that_contradict_each_other_are_refused(samples, steps, message):
    with pytest.raises(LayoutError, match=message):
        apply_fixes(samples, [Fix(*step) for step in steps])


def test_a_plan_that_drops_everything_is_refused(samples):
    with pytest.raises(LayoutError, match="drops every frame"):
        apply_fixes(samples, [Fix(frame.name, "drop") for frame in samples])


def test_the_mask_is_copied_from_a_source_that_stays(samples):
    """The most alike source is dropped, as the copy of another; that other one serves as well."""
    present = {"a": False, "b": True, "c": True}
    findings = (
        Finding("duplicate", ("b", "c"), "equal frames", 1.0, 1.0, exact=True),
        Finding("contradiction", ("a", "c"), "", 0.99, 0.0, (2, 1)),
        Finding("contradiction", ("a", "b"), "", 0.98, 0.0, (2, 1)),
    )
    steps = suggest_fixes(Audit(SAMPLES, {}, present, findings, ()))
    assert [(s.name, s.action, s.source, s.down, s.right) for s in steps] == [
        ("c", "drop", "", 0, 0),
        ("a", "copy_mask", "b", -2, -1),
    ]


def test_many_equal_frames_are_one_finding_each(samples, tmp_path):
    for number in range(12):
        for path, suffix in ((samples[0].image, ""), (samples[0].mask, "_mask")):
            shutil.copy(path, tmp_path / f"1_{number}{suffix}.tif")
    assert len(audit_frames(tmp_path).findings) == 11


def test_what_cannot_be_paired_at_all_is_listed_too(tmp_path, gray):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    write_pages(tmp_path / "images" / "s.tif", [gray, gray])
    cv2.imwrite(str(tmp_path / "masks" / "s.png"), gray * 0)
    found = audit_frames(tmp_path)
    assert not found.subjects
    assert "s_0000" in found.of_kind("unpaired")[0].detail
