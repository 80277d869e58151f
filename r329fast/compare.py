"""The old place of what is now in `r329fast.comparison`; it goes with the next release."""

from r329fast.base.lazy import moved

_CLASSES = ("Ranked", "read_classes", "top_k")
_DIFFERENCES = ("Comparison", "TensorComparison", "compare_arrays", "compare_tensors")
_FILES = ("DTYPES", "FileComparison", "compare_files", "read_raw", "read_tensors")

__getattr__ = moved(
    __name__,
    {
        **dict.fromkeys(_CLASSES, "r329fast.comparison.classes"),
        **dict.fromkeys(_DIFFERENCES, "r329fast.comparison.differences"),
        **dict.fromkeys(_FILES, "r329fast.comparison.result_files"),
    },
)
