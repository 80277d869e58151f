"""Module paths of release 0.1 go on for one release, and each use tells the new place."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

# module of 0.1 -> its public names
OLD = {
    "compare": "Comparison DTYPES FileComparison Ranked TensorComparison compare_arrays "
    "compare_files compare_tensors read_classes read_raw read_tensors top_k",
    "errors": "CfgError DataError FileError ProgramError R329Error UnsupportedModelError "
    "UsageError nearest",
    "images": "Floats IMAGENET_MEAN IMAGENET_STD LARGEST_SIDE Labels Pixels Preprocess Triple "
    "build_dataset load_dataset load_labels raw_input write_dataset",
    "pipeline": "Prepared Progress calibration_ranges input_quantizer is_program layer_tops "
    "load_config load_graph narrow_outputs options_of prepare program_of read_input "
    "with_per_channel",
    "profile": "Group LayerCounters MemorySections Wanted analyse_errors collect count_data "
    "estimate execution_groups graph_json int8_bin_size layer_counters layer_sensitivity "
    "load_hardware make_record memory_sections perf_node_count profile_data profile_data_size "
    "suggest vendor_log",
    "run": "RunResult run_cfg",
    "simulator": "BACKENDS Feeds Pending Simulator layer_tensors",
}
# what stands there still, without a warning
STAYS = {
    "errors": OLD["errors"],
    "images": "Preprocess build_dataset load_dataset load_labels raw_input write_dataset",
    "profile": "Wanted analyse_errors collect count_data estimate layer_sensitivity load_hardware "
    "make_record suggest",
    "simulator": "Pending Simulator",
}


@pytest.mark.parametrize("module", OLD)
def test_old_names_go_on_and_warn(module: str) -> None:
    found = import_module(f"r329fast.{module}")
    for name in OLD[module].split():
        if name in STAYS.get(module, "").split():
            assert getattr(found, name) is not None
            continue
        place = rf"r329fast\.{module}\.{name} has moved to r329fast\.[\w.]+"
        with pytest.warns(DeprecationWarning, match=place) as caught:
            value = getattr(found, name)
        assert caught[0].filename == __file__
        home, _, new = str(caught[0].message).split(" moved to ")[1].split(";")[0].rpartition(".")
        assert value is getattr(import_module(home), new)


@pytest.mark.parametrize("module", OLD)
def test_a_name_that_never_was_is_an_attribute_error(module: str) -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = import_module(f"r329fast.{module}").nothing


def test_the_warning_shows_the_line_that_imports() -> None:
    code = "from r329fast.pipeline import prepare\nfrom r329fast.images import IMAGENET_MEAN\n"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert "<string>:1: DeprecationWarning: r329fast.pipeline.prepare" in done.stderr
    assert "<string>:2: DeprecationWarning: r329fast.images.IMAGENET_MEAN" in done.stderr
