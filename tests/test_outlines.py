"""Distances of outlines and surface Dice, against what MONAI computes of the same masks."""

import csv

import numpy as np
import pytest
from mask_pairs import mask_pairs

from nerveceg_tf.cli.tables import print_scores
from nerveceg_tf.errors import NervecegWarning, RunError
from nerveceg_tf.evaluation.frame_scores import FrameScores
from nerveceg_tf.evaluation.mask_metrics import Outlines, outline_distances
from nerveceg_tf.evaluation.summary import summarise

# Printed by tools/outlines_by_monai.py: Hausdorff-95, average surface distance, and surface Dice
# within 2 and 5 pixels, of MONAI 1.6.1.
BY_MONAI = {
    "equal": (0, 0, 1, 1),
    "one pixel down": (1, 0.883435607, 1, 1),
    "a little aside": (3.60555124, 1.87101483, 0.56422019, 1),
    "far aside": (26.4537182, 10.5843706, 0.240687683, 0.406876802),
    "grown": (1, 1.00502074, 1, 1),
    "grown by four": (4, 3.54673028, 0, 1),
    "grown by nine with corners": (12.7279224, 9.79895306, 0.0765390992, 0.0998336077),
    "eroded": (1, 1.00404775, 1, 1),
    "eroded by three": (3, 2.72387505, 0, 1),
    "a hole": (16.5736122, 0.621570468, 0.96449703, 0.96449703),
    "a large hole": (22.0620403, 1.3006705, 0.939655185, 0.939655185),
    "a hole in both": (4.2426405, 2.29269314, 0.521951199, 1),
    "a speck far away": (0, 1.5306797, 0.982035935, 0.982035935),
    "two parts for one": (19, 7.06734324, 0.215946838, 0.441860467),
    "two parts in both": (51.0005646, 4.76866961, 0.896666646, 0.896666646),
    "another's nerve": (82.7345123, 33.0641251, 0.0470588244, 0.139215693),
    "the other's nerve": (82.7345123, 33.0641251, 0.0470588244, 0.139215693),
    "at the upper left corner": (6.76263142, 3.33932185, 0.42988506, 0.689655185),
    "over the lower edge": (6.40312433, 3.40888762, 0.244031832, 0.867374003),
    "the whole frame for a nerve": (78.6841354, 41.8023338, 0, 0),
    "the whole frame in both": (0, 0, 1, 1),
    "an inner frame": (2, 2.00520229, 0.987999976, 1),
    "a pixel for a nerve": (20.9820919, 16.8111248, 0, 0),
    "two pixels apart": (21, 21, 0, 0),
    "a line along the edge": (95, 52.2095337, 0, 0),
    "the left half": (33.1999969, 6.62465906, 0.615384638, 0.65934068),
    "ragged": (26.9258232, 10.1347837, 0.234709099, 0.361760318),
    "scattered": (74.5248108, 20.9261456, 0.101492539, 0.334328353),
    "nothing drawn": (np.nan, np.inf, 0, 0),
    "a false alarm": (np.nan, np.inf, 0, 0),
    "nothing in both": (np.nan, np.nan, np.nan, np.nan),
}
PAIRS = mask_pairs()


@pytest.mark.parametrize("name", PAIRS)
def test_outlines_score_as_by_monai(name):
    scores = np.array(outline_distances(*PAIRS[name]))
    expected = np.array(BY_MONAI[name], float)
    # Where a mask is empty there is no distance, which MONAI calls infinite.
    expected[np.isinf(expected)] = np.nan
    np.testing.assert_allclose(scores, expected, rtol=1e-6)  # MONAI computes in float32


def test_the_pairs_are_those_that_monai_was_asked_about():
    assert PAIRS.keys() == BY_MONAI.keys()


def test_the_order_of_the_masks_and_their_type_do_not_matter():
    for truth, predicted in PAIRS.values():
        there = outline_distances(truth, predicted)
        back = outline_distances(predicted.astype(np.uint8) * 255, truth.astype(np.float32))
        np.testing.assert_allclose(there, back, rtol=1e-12)


def scores_of(outlines, subjects):
    n = len(outlines)
    columns = {name: np.full(n, 0.5) for name in FrameScores.__dataclass_fields__}
    columns |= {"name": np.array([f"f{i}" for i in range(n)]), "subject": np.array(subjects)}
    columns |= {"present": np.ones(n, bool), "passed": np.ones(n, bool)}
    rows = zip(*outlines, strict=True)
    columns |= {k: np.array(v) for k, v in zip(Outlines._fields, rows, strict=True)}
    return FrameScores(**columns)


def test_what_has_no_outline_is_left_out_of_the_means(capsys):
    names = ("a little aside", "nothing drawn", "nothing in both", "far aside")
    outlines = [outline_distances(*PAIRS[name]) for name in names]
    summary = summarise(scores_of(outlines, ["1", "1", "2", "2"]))
    one, _, _, far = outlines
    assert summary["hausdorff_95"] == pytest.approx((one.hausdorff_95 + far.hausdorff_95) / 2)
    assert summary["distance_frames"] == 2
    # A nerve that is missed is a score of 0; where there is none and none is drawn there is none.
    for name in ("surface_dice_2", "surface_dice_5"):
        assert summary[name] == pytest.approx((getattr(one, name) + getattr(far, name)) / 3)
        assert name in summary["intervals"]
        first, second = (subject[name] for subject in summary["by_subject"])
        assert first == pytest.approx(getattr(one, name) / 2)
        assert second == pytest.approx(getattr(far, name))
    assert summary["surface_dice_frames"] == 3
    counts = {"frames": 4, "nerve_frames": 4, "subjects": 2, "subset": "unseen"}
    print_scores({**summary, **counts}, "scores")
    printed = capsys.readouterr().out
    assert f"{summary['surface_dice_2']:.4f}" in printed
    assert "surface Dice within 5 pixels" in printed


def test_scores_of_an_earlier_version_are_read_without_what_it_scored_otherwise(tmp_path):
    """An interrupted cross-validation may hold folds that an earlier version scored."""
    outlines = [outline_distances(*PAIRS[name]) for name in ("a little aside", "far aside")]
    scores = scores_of(outlines, ["1", "2"])
    scores.save(tmp_path / "new.csv")
    rows = list(csv.DictReader((tmp_path / "new.csv").open()))
    assert all(Outlines._fields[i] in rows[0] for i in range(4))
    with (tmp_path / "old.csv").open("w", newline="") as file:
        columns = [name for name in rows[0] if not name.startswith("surface_dice")]
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    with pytest.warns(NervecegWarning, match="old.csv: is from an earlier version"):
        old = FrameScores.load(tmp_path / "old.csv")
    for name in ("surface_dice_2", "surface_dice_5", "hausdorff_95"):
        assert np.isnan(getattr(old, name)).all()
    np.testing.assert_array_equal(old.surface_distance, scores.surface_distance)
    new = FrameScores.load(tmp_path / "new.csv")
    together = summarise(FrameScores.join([old, new]))
    assert together["hausdorff_95"] == pytest.approx(np.mean([o.hausdorff_95 for o in outlines]))
    assert together["distance_frames"] == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(",dice,", ",Dice,"),
        lambda text: text.replace(",surface_dice_2,", ",surface_dice,"),
        lambda text: text.rstrip()[: text.rstrip().rindex(",")],
        lambda text: text.rstrip() + ",0.5\n",
        lambda text: text.replace("f1,", "f1,x", 1).replace(",0.5,", ",half,", 1),
    ],
    ids=["column", "newer column", "cut", "longer row", "no number"],
)
def test_damaged_scores_are_named(damage, tmp_path):
    outlines = [outline_distances(*PAIRS["grown"])] * 2
    path = tmp_path / "frames.csv"
    scores_of(outlines, ["1", "2"]).save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(RunError, match=r"frames\.csv: is missing or damaged"):
        FrameScores.load(path)
