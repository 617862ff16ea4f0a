"""What `benchmarks/gpu.py` checks on a GPU, on the simulated one: only the kernel itself is NumPy's here.

The kernel's own source is compiled for the CPU, and its launches by the real bindings need a GPU: the last test runs
the program where there is one.
"""

import ctypes
import gc
import json
import os
import shutil
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from device import forget
from fakes.cuda_device import DeviceSettings
from fakes.cuda_work import Work
from fakes.install import installed_fakes
from generated import BEGIN, END
from gpu_driver import require_gpu
from gpu_kernel import BLOCK, SOURCE, BoxMean, compile_kernel
from gpu_ring import Writer, frame_of
from gpu_session import Plan, measure
from gpu_tables import NOTHING_YET, TITLE, tables
from gpu_tensorrt import examine_tensorrt
from gpu_wheels import FLAVOURS, _Pip, _reason
from rows import append_row, read_rows

from edge_agent.ring import FrameRing
from engines.errors import EngineError
from engines.files import sha256_of

ROOT = Path(__file__).parents[2]
GREY, COLOUR = BoxMean((48, 64, 1), box=4), BoxMean((30, 40, 3), box=5)
WAYS = ("registered", "mapped", "device", "managed")
PROGRAM = ROOT / "benchmarks" / "gpu.py"
NEEDED = "run `python benchmarks/gpu.py` where `nvidia-smi` lists a GPU"


class NumpyLauncher:
    """Stands in for the kernel alone: enqueued on the simulated stream, it reads and writes at the addresses given."""

    compiler = "NumPy"

    def __init__(self, machine, memory):
        self.machine, self.memory = machine, memory

    def enqueue(self, work, frame, means):
        read = self.machine.use(frame, int(np.prod(work.frame_shape)), writes=False)
        written = self.machine.use(means, 4 * int(np.prod(work.means_shape)), writes=True)

        def run():
            pixels = read.block.bytes_at(frame, read.end - read.start).reshape(work.frame_shape)
            result = self.compute(work, pixels, frame)
            if result is not None:
                written.block.bytes_at(means, written.end - written.start)[...] = result.view(np.uint8).reshape(-1)

        self.machine.enqueue(self.memory.stream, Work("box_mean", run, (read, written)))

    def compute(self, work, pixels, _address):
        return np.ascontiguousarray(work.of(pixels))

    def copy(self, address, array):
        self.memory.copy_in(address, array)
        self.memory.synchronize()

    def close(self):
        self.machine = None


class Stale(NumpyLauncher):
    """Keeps the first frame that it saw at an address, as a copy made at the registration would."""

    def __init__(self, *words):
        super().__init__(*words)
        self.seen = {}

    def compute(self, work, pixels, address):
        return super().compute(work, self.seen.setdefault(address, pixels.copy()), address)


class Silent(NumpyLauncher):
    def compute(self, *_):
        return None


class NearlyRight(NumpyLauncher):
    """Off by the smallest step there is, in one value."""

    def compute(self, *words):
        result = super().compute(*words)
        result.flat[-1] = np.nextafter(result.flat[-1], np.float32(300))
        return result


class SkipsFirstRow(NumpyLauncher):
    """Takes the second row of each box for the first one, too."""

    def compute(self, work, pixels, address):
        rows = pixels.reshape(-1, work.box, *pixels.shape[1:]).copy()
        rows[:, 0] = rows[:, 1]
        return super().compute(work, rows.reshape(pixels.shape), address)


@contextmanager
def simulated(folder, monkeypatch, settings=None, **libraries):
    monkeypatch.setenv("CACHE_DIRECTORY", str(folder / "cache"))
    monkeypatch.setenv("STATE_DIRECTORY", str(folder / "state"))
    forget()
    try:
        with installed_fakes(settings, **libraries) as machine:
            yield machine
            gc.collect()
            machine.assert_nothing_left()
    finally:
        forget()


@pytest.fixture
def on_device(tmp_path, monkeypatch):
    return lambda *words, **libraries: simulated(tmp_path, monkeypatch, *words, **libraries)


def plan_for(machine, launcher=NumpyLauncher, **changes):
    plan = Plan(
        command="python benchmarks/gpu.py",
        rounds=3,
        budget_s=60,
        cases={"grey": GREY, "colour": COLOUR},
        launcher=lambda memory: launcher(machine, memory),
        why_not=lambda _binding, _way: None,
        tensorrt=examine_tensorrt,
    )
    return replace(plan, **changes)


def test_every_way_and_launch_of_both_bindings_is_checked_and_timed(on_device, tmp_path):
    with on_device() as machine:
        row = measure(plan_for(machine), ["pip: something"])
    assert row["failed"] == []
    assert row["left_out"] == ["pip: something"]
    lanes = [("cuda-python", way, launch) for way in WAYS for launch in ("stream", "graph")]
    lanes += [("pycuda", way, "stream") for way in WAYS]
    for case in row["cases"]:
        assert [(check["binding"], check["way"], check["launch"]) for check in case["checks"]] == lanes
        assert {check["frames"] for check in case["checks"]} == {5}
        copies = {"cuda-python, bare copy", "pycuda, bare copy"}
        assert set(case["ms"]) == {", ".join(lane) for lane in lanes} | copies
        assert {figures["runs"] for figures in case["ms"].values()} == {3}
    append_row(tmp_path / "rows", row)
    text = tables(read_rows(tmp_path / "rows"))
    assert text.count("5 frames, all equal") == 2 * len(lanes)
    assert "| pycuda | bare copy | - | - |" in text
    assert "not run: give a recipe folder" in text
    assert "* pip: something" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("launcher", "said"),
    [
        (Stale, "frame 1: 192 of 192 means differ from NumPy's"),
        (Silent, "a launch left NaN"),
        (NearlyRight, "frame 0: 1 of 192 means differ from NumPy's"),
        (SkipsFirstRow, "one byte changed 0 means"),
    ],
)
def test_a_kernel_that_is_wrong_is_noticed_in_every_lane(on_device, launcher, said):
    with on_device() as machine:
        row = measure(plan_for(machine, launcher, cases={"grey": GREY}), [])
    assert len({failure.split(": ")[1] for failure in row["failed"]}) == 12
    assert any(said in failure for failure in row["failed"])
    assert "### Did not hold" in tables([row])


def test_what_writes_the_means_without_a_launch_is_noticed(on_device, monkeypatch):
    with on_device() as machine:
        synchronize = machine.synchronize_stream

        def meddle(handle):
            synchronize(handle)
            for block in machine.memory.alive("pinned"):
                block.backing[:4] = 0

        monkeypatch.setattr(machine, "synchronize_stream", meddle)
        row = measure(plan_for(machine, cases={"grey": GREY}), [])
    assert any("something wrote the means without a launch" in failure for failure in row["failed"])


def test_a_gpu_that_cannot_register_has_the_other_ways(on_device):
    with on_device(DeviceSettings(host_register_supported=False), pycuda=False) as machine:
        row = measure(plan_for(machine, cases={"grey": GREY}), [])
    assert row["failed"] == []
    assert {check["way"] for check in row["cases"][0]["checks"]} == set(WAYS) - {"registered"}
    assert "cuda-python, registered: the GPU cannot read memory that others have allocated" in row["left_out"]
    assert any(line.startswith("pycuda: CUDA cannot be used from Python") for line in row["left_out"])


def test_a_way_that_killed_its_probe_is_left_out_and_named(on_device):
    def why_not(binding, way):
        return "it died of SIGSEGV" if (binding, way) == ("pycuda", "registered") else None

    with on_device() as machine:
        row = measure(plan_for(machine, cases={"grey": GREY}, why_not=why_not), [])
    assert row["failed"] == []
    assert row["left_out"] == ["pycuda, registered: it died of SIGSEGV"]
    assert len(row["cases"][0]["checks"]) == 11


def test_without_a_binding_the_fix_is_named(on_device):
    with (
        on_device(cuda_python=None, pycuda=False) as machine,
        pytest.raises(EngineError, match=r"no CUDA binding works here: .*--carry DIR"),
    ):
        measure(plan_for(machine), [])


def test_tensorrt_gives_the_golden_maps_and_verdicts_with_every_binding_and_way(on_device, fitted_recipe):
    ways = {"cuda-python": WAYS, "pycuda": WAYS}
    with on_device():
        row = examine_tensorrt(fitted_recipe, ways, rounds=2, budget_s=60)
    assert row["why_not"] is None
    assert row["failures"] == []
    assert row["flavour"] == "tensorrt 10.3.0"
    assert [engine["engine"] for engine in row["engines"]] == [f"{b}, {way}" for b in ways for way in WAYS]
    assert all(engine["equal_verdicts"] == engine["frames"] >= 4 for engine in row["engines"])
    assert set(row["ms"]) == {engine["engine"] for engine in row["engines"]}
    json.dumps(row, allow_nan=False)


def test_an_engine_with_other_maps_is_a_failure(on_device, fitted_recipe, tmp_path):
    folder = tmp_path / "recipe"
    shutil.copytree(fitted_recipe, folder)
    path = min((folder / "golden").glob("*.tensorrt.npy"))
    np.save(path, np.load(path) * 1.05)
    manifest, before = folder / "manifest.json", fitted_recipe / "golden" / path.name
    manifest.write_text(manifest.read_text().replace(sha256_of(before), sha256_of(path)))
    with on_device(pycuda=False):
        row = examine_tensorrt(folder, {"cuda-python": ["mapped"]}, rounds=1, budget_s=60)
    assert row["why_not"] is None
    (failure,) = row["failures"]
    assert "cuda-python, mapped" in failure
    assert "differs by 4.76 %" in failure


def test_without_tensorrt_the_line_says_what_to_do(on_device, fitted_recipe):
    with on_device(tensorrt=None):
        row = examine_tensorrt(fitted_recipe, {"cuda-python": WAYS}, rounds=1, budget_s=1)
    assert "--carry DIR" in row["why_not"]


def test_the_other_process_writes_into_the_ring():
    with closing(FrameRing.create(COLOUR.frame_shape, 2)) as ring, closing(Writer(ring)) as writer:
        assert writer.pid != os.getpid()
        assert [writer.draw(1, seed) for seed in (3, 4)] == [2, 4]
        np.testing.assert_array_equal(ring.slot(1), frame_of(4, COLOUR.frame_shape))
        assert writer.flip(1, 100) == ring.generation(1) == 6
        changed = ring.slot(1) != frame_of(4, COLOUR.frame_shape)
        assert np.flatnonzero(changed).tolist() == [100]
        assert not ring.slot(0).any()


@pytest.mark.parametrize("work", [GREY, COLOUR, BoxMean((35, 77, 4), box=7), BoxMean((8, 8, 1), box=1)], ids=str)
def test_the_source_of_the_kernel_gives_numpys_means_to_the_bit(work, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("the kernel is compiled for the CPU with g++: install it")
    rows, columns, channels = work.means_shape
    frame, means = frame_of(0, work.frame_shape), np.full(work.means_shape, np.nan, np.float32)
    library = ctypes.CDLL(str(compiled_for_the_cpu(tmp_path)))
    library.run(frame.ctypes, means.ctypes, rows, columns, channels, work.box)
    np.testing.assert_array_equal(means, work.of(frame))
    np.testing.assert_allclose(means[0, 0], frame[: work.box, : work.box].reshape(-1, channels).mean(axis=0), rtol=1e-6)


def compiled_for_the_cpu(folder):
    launch = """
struct Index { int x, y; };
static Index blockIdx, threadIdx;
static const Index blockDim = {BLOCK_X, BLOCK_Y};
#define __global__
"""
    launch += SOURCE
    launch += """
extern "C" void run(const unsigned char *frame, float *means, int rows, int columns, int channels, int box)
{
    for (blockIdx.y = 0; blockIdx.y * BLOCK_Y < rows; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x * BLOCK_X < columns * channels; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < BLOCK_Y; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < BLOCK_X; ++threadIdx.x)
                    box_mean(frame, means, rows, columns, channels, box);
}
"""
    source, library = folder / "kernel.cpp", folder / "kernel.so"
    source.write_text(launch)
    sizes = [f"-DBLOCK_X={BLOCK[0]}", f"-DBLOCK_Y={BLOCK[1]}"]
    subprocess.run(["g++", "-shared", "-fPIC", "-O1", *sizes, "-o", library, source], check=True)
    return library


def test_nvrtc_compiles_the_kernel_for_a_jetson_without_a_gpu():
    try:
        cubin, compiler = compile_kernel((8, 7))
    except EngineError as problem:
        pytest.skip(f"{problem} `pip install cuda-bindings nvidia-cuda-nvrtc` runs this")
    assert cubin.startswith(b"\x7fELF")
    assert compiler.startswith("NVRTC ")


def test_what_is_not_carried_is_named_and_nothing_is_raised(tmp_path):
    assert "`--carry DIR`" in _Pip(None, tmp_path, tmp_path).install("cuda-python", ["cuda-bindings"])
    (tmp_path / "tensorrt_rtx_cu13_libs-1.7-py3-none-any.whl").touch()
    (tmp_path / "tensorrt_rtx_cu13_bindings-1.7-cp311-none-any.whl").touch()
    pip = _Pip(tmp_path, tmp_path / "site", tmp_path)
    assert pip.named("tensorrt_") == ["tensorrt_rtx_cu13_bindings", "tensorrt_rtx_cu13_libs"]
    assert "none" in FLAVOURS


def test_the_reason_of_a_failed_build_is_its_compilers():
    output = "Building wheel\n  cuda.hpp:23:10: fatal error: cudaProfiler.h: No such file\n  error: subprocess-exited\n"
    assert _reason(output) == "cuda.hpp:23:10: fatal error: cudaProfiler.h: No such file"
    assert _reason("a\nb") == "b"


def test_without_a_gpu_it_ends_with_69_and_says_where_to_run_it(tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, PROGRAM, *(f"--{name}={tmp_path / name}" for name in ("out", "rows", "json", "work"))],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 69
    assert done.stderr.startswith("no CUDA GPU can be used here: ")
    assert done.stderr.rstrip().endswith(". Run it where `nvidia-smi` lists one.")
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_a_place_for_the_figures():
    text = (ROOT / "docs" / "results" / "gpu.md").read_text()
    assert text.startswith(f"# {TITLE}\n")
    assert text.count(BEGIN) == text.count(END) == 1
    measured = (ROOT / "docs" / "results" / "gpu.jsonl").is_file()
    assert (NOTHING_YET in text) is not measured
    assert ("it holds no figures" in text) is not measured


def test_on_this_machines_gpu(tmp_path):
    try:
        require_gpu()
    except EngineError as problem:
        pytest.skip(f"{problem} To check it by hand, {NEEDED}")
    files = [f"--{name}={tmp_path / name}" for name in ("out", "rows", "json", "work")]
    done = subprocess.run([sys.executable, PROGRAM, *files], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "json").read_text())["failed"] == []
