"""The table of a run and its exports."""

from types import SimpleNamespace

import pytest

from nerveceg_tf.cli.tables import print_export_reports


@pytest.mark.parametrize("name", ["nerve.tflite", "nerve_int8_of_the_whole_year.tflite"])
def test_every_number_stands_whole_in_a_narrow_terminal(name, capsys):
    one = SimpleNamespace(
        **{"name": name, "megabytes": 7.7, "frames": 9, "disagreeing": 0, "broken": ()},
        **{"presence_difference": 2e-7, "mask_difference": 1e-5, "nerve_dice": 0.6064},
        **{"gate_auc": 0.8571, "median_ms": 113.4, "p95_ms": 1210.5},
    )
    print_export_reports([one, one], "title")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for number in ("7.7", "±2e-07", "±1e-05", "0.6064", "0.8571", "113.4", "1210.5"):
        assert number in printed.split()
