"""The report: a run's scores, its gate, its thresholds and its frames, as one HTML page."""

from nerveceg_tf.report.page import write_report

__all__ = ["write_report"]
