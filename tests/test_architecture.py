"""Who may import whom, where vendor libraries live, and how large a file may grow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("engines", "edge_agent", "calibrate")
ALLOWED = {"engines": {"engines"}, "edge_agent": {"engines", "edge_agent"}, "calibrate": set(PACKAGES)}
# Every file that may import a vendor library, and why it is that one.
VENDORS = {
    "torch": {
        "engines/box_mean.py",
        "engines/checkpoint.py",
        "engines/core_inputs.py",
        "engines/defect_head.py",
        "engines/device.py",
        "engines/error_maps.py",
        "engines/export.py",
        "engines/forward.py",
        "engines/graph.py",
        "engines/layers.py",
        "engines/losses.py",
        "engines/rounding.py",
        "engines/network.py",
        "engines/objective.py",
        "engines/objectives/adversarial.py",
        "engines/objectives/contractive.py",
        "engines/objectives/masked.py",
        "engines/objectives/sparse.py",
        "engines/objectives/variational.py",
        "engines/short_memory.py",
        "engines/tensorboard_log.py",
        "engines/tile_planes.py",
        "engines/torch2trt_adapter/convert.py",
        "engines/trainer.py",
        "engines/training.py",
    },
    "onnxruntime": {
        "engines/bias_correction.py",
        "engines/debug_graph.py",
        "engines/golden_frames.py",
        "engines/quantize.py",
        "engines/runtime/onnxruntime_cpu.py",
    },
    "paho": {"edge_agent/mqtt.py"},
    "simplejpeg": {"engines/image_containers.py"},
    "prometheus_client": {"edge_agent/metrics.py", "edge_agent/tally.py"},
    "cv2": {
        "calibrate/ignored.py",
        "calibrate/original_pixels.py",
        "calibrate/probe_defects.py",
        "calibrate/sensitivity.py",
        "calibrate/pictures.py",
        "calibrate/pixel_ranks.py",
        "edge_agent/camera/opencv.py",
        "edge_agent/camera/recording.py",
        "edge_agent/camera/rtsp.py",
        "edge_agent/commands/doctor.py",
        "edge_agent/decision.py",
        "edge_agent/drift.py",
        "edge_agent/frame_limits.py",
        "edge_agent/masks.py",
        "edge_agent/synthetic/defects.py",
        "edge_agent/synthetic/imaging.py",
        "edge_agent/synthetic/plate.py",
        "engines/map_choice.py",
        "engines/corruption_sheet.py",
        "engines/corruptions/__init__.py",
        "engines/corruptions/bold.py",
        "engines/corruptions/faint.py",
        "engines/corruptions/masks.py",
        "engines/dataset.py",
        "engines/golden_frames.py",
        "engines/images.py",
        "engines/moments.py",
        "engines/padding.py",
        "engines/reduction.py",
        "engines/synthetic_defects.py",
    },
    "tensorboard": set(),
    "tensorrt": {"engines/plans/library.py"},
    "pycuda": {"engines/runtime/cuda_memory/pycuda_driver.py"},
    "cuda": {"engines/runtime/cuda_memory/cuda_python.py"},
    "torch2trt": {"engines/torch2trt_adapter/__init__.py"},
}
CEILING_LINES = 400


def sources():
    return [p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))]


def imported(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & set(PACKAGES)
    assert ours <= ALLOWED[package]


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendor_libraries_are_imported_only_in_their_files(vendor):
    users = {str(p.relative_to(ROOT)) for p in sources() if vendor in {n.split(".")[0] for n in imported(p)}}
    assert users <= VENDORS[vendor]


def test_relative_imports_are_not_used():
    relative = [
        str(path)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small_and_never_assert_at_run_time(path):
    text = path.read_text()
    assert text.count("\n") <= CEILING_LINES
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)]
