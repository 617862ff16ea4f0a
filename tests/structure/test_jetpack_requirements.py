"""What pip would bring to a Jetson: everything has a wheel for it, and nothing that JetPack ships is replaced."""

import json
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (17, 27, 28, 31, 34, 35)] + ["manylinux2014_aarch64"]
JETPACKS = {"6": "3.10", "7": "3.12"}
SHIPPED = ("tensorrt", "opencv", "pycuda", "torch")


def wanted():
    """Return what a station installs: the product and its extra for TensorRT."""
    needed = [Requirement(line) for line in requires("edge-agent")]
    return [
        f"{requirement.name}{requirement.specifier}"
        for requirement in needed
        if requirement.marker is None or requirement.marker.evaluate({"extra": "tensorrt"})
    ]


def resolve(python, constraints, folder):
    report = folder / "report.json"
    words = ["install", "--dry-run", "--ignore-installed", "--quiet", "--only-binary=:all:", "--implementation", "cp"]
    words += ["--python-version", python, "--target", folder / "target", "--report", report, "-c", constraints]
    words += [word for platform in PLATFORMS for word in ("--platform", platform)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, *wanted()], capture_output=True, text=True, timeout=300, check=False
    )
    # What pip says where it reaches no index at all; a set that cannot be resolved must fail.
    if done.returncode != 0 and "(from versions: none)" in done.stderr:
        pytest.skip(f"the package index cannot be asked: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    listed = json.loads(report.read_text())["install"]
    return {entry["metadata"]["name"].lower(): entry["metadata"]["version"] for entry in listed}


@pytest.mark.parametrize("jetpack", JETPACKS)
def test_the_requirements_resolve_and_leave_jetpack_alone(jetpack, tmp_path):
    found = resolve(JETPACKS[jetpack], ROOT / f"constraints-jetpack{jetpack}.txt", tmp_path)
    assert not [name for name in found if name.startswith(SHIPPED)]
    assert {"numpy", "onnxruntime", "paho-mqtt", "onnx", "cuda-python"} <= set(found)
    if jetpack == "6":
        assert found["numpy"].startswith("1.")
