"""Turns on oneDNN, whose convolutions train 1.4 to 1.6 times faster on processors with AVX2.

TensorFlow turns it on by itself only on processors with AVX-512 VNNI. It reads
`TF_ENABLE_ONEDNN_OPTS` once, so the variable is set before TensorFlow is imported. A value that the
user set stays. If TensorFlow was imported before this package, nothing changes.
"""

import contextlib
import os
from collections.abc import Iterator

from nerveceg_tf.utils.on_import import around_import

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"


@contextlib.contextmanager
def with_onednn() -> Iterator[None]:
    """Sets `TF_ENABLE_ONEDNN_OPTS` to 1 on processors with AVX2, unless it is set."""
    if VARIABLE not in os.environ and has_avx2():
        os.environ[VARIABLE] = "1"
    yield


def has_avx2() -> bool:
    """Whether the processor is an x86 with AVX2; NumPy has asked it."""
    # Imported here: a process that never imports TensorFlow need not import NumPy either.
    from numpy._core._multiarray_umath import __cpu_features__

    return bool(__cpu_features__.get("AVX2"))


around_import("tensorflow", with_onednn)
