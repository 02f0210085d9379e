"""Run-length masks: column by column, counted from 1, and the same as Kaggle's."""

import csv

import cv2
import numpy as np
import pytest

from nerveceg_tf.data import rle
from nerveceg_tf.data.frame import read_image, read_mask


def test_real_masks_come_back(few):
    for frame in few:
        mask = read_mask(frame, read_image(frame.image).shape)
        runs = rle.encode(mask)
        assert bool(runs) == bool(mask.any())
        np.testing.assert_array_equal(rle.decode(runs, mask.shape), mask)


def test_empty_and_full_masks():
    size = (3, 5)
    assert rle.encode(np.zeros(size)) == ""
    assert rle.encode(np.ones(size)) == "1 15"
    np.testing.assert_array_equal(rle.decode("", size), np.zeros(size))
    np.testing.assert_array_equal(rle.decode("1 15", size), np.ones(size))


@pytest.mark.parametrize(
    ("mask", "runs"),
    [
        ([[0, 1], [1, 1], [1, 0]], "2 4"),  # goes on from the foot of a column to the next head
        ([[1, 0], [0, 1], [1, 0]], "1 1 3 1 5 1"),
        ([[0, 0], [0, 0], [0, 1]], "6 1"),
        ([[1, 0], [0, 0], [0, 0]], "1 1"),
    ],
)
def test_runs_go_down_the_columns_and_count_from_1(mask, runs):
    assert rle.encode(np.array(mask)) == runs
    decoded = rle.decode(runs, (3, 2))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, mask)


def test_any_value_but_0_is_nerve(mask):
    assert rle.encode(mask * 255) == rle.encode(mask) == rle.encode(mask.astype(bool))


def test_runs_may_overlap_and_come_in_any_order():
    np.testing.assert_array_equal(rle.decode("4 2 1 2 2 3", (3, 2)), [[1, 1], [1, 1], [1, 0]])


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("1 two", "contains something other than whole numbers; write pairs of start and length"),
        ("1 -2", "contains something other than whole numbers"),
        ("1.0 2", "contains something other than whole numbers"),
        ("1 ²", "contains something other than whole numbers"),
        ("1 999999999999", "contains something other than whole numbers"),
        ("1 2 3", "has 3 numbers; write pairs of start and length"),
        ("0 2", "contains a 0; starts and lengths count from 1"),
        ("1 0", "contains a 0; starts and lengths count from 1"),
        ("5 3", "ends at pixel 7, but a 2x3 frame ends at 6; it was written for another frame"),
        ("7 1", "ends at pixel 7, but a 2x3 frame ends at 6"),
        ("1 99999999999", "ends at pixel 99999999999, but a 2x3 frame ends at 6"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(runs, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        rle.decode(runs, (3, 2))


@pytest.mark.data
def test_kaggles_mask_files_equal_its_rows_both_ways(shared_data):
    folder = shared_data / "kaggle-uns-tiff"
    with (folder / "train_masks.csv").open() as file:
        rows = {f"{row['subject']}_{row['img']}": row["pixels"] for row in csv.DictReader(file)}
    masks = sorted((folder / "train").glob("*_mask.tif"))
    assert len(masks) == 66
    for path in masks:
        mask, runs = cv2.imread(str(path), cv2.IMREAD_UNCHANGED), rows[path.stem[:-5]]
        assert rle.encode(mask) == runs
        np.testing.assert_array_equal(rle.decode(runs, mask.shape), mask > 0)
