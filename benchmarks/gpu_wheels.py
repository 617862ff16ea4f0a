"""The packages of `gpu.py`: fetched where there is a network, installed where there is a GPU and none.

What can be imported already is used as it is. The rest goes into a folder of its own behind everything else on the
path, so that nothing of the machine's is replaced or hidden. PyCUDA exists as source only: it is built with g++ from
Python's and CUDA's headers and the driver's library; nvcc is not needed.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from gpu_driver import driver_library, load_nvrtc

from engines.errors import EngineError

CUDAS = (12, 13)
_RTX = "1.7.1.116"
# The index of the real one holds source packages that only say where the libraries are.
_NVIDIA = ["--extra-index-url", "https://pypi.nvidia.com"]
FLAVOURS = {
    "tensorrt-rtx": [f"tensorrt-rtx-cu13-libs=={_RTX}", f"tensorrt-rtx-cu13-bindings=={_RTX}"],
    "tensorrt-cu13": ["tensorrt-cu13-libs", "tensorrt-cu13-bindings"],
    "tensorrt-cu12": ["tensorrt-cu12-libs", "tensorrt-cu12-bindings"],
    "none": [],
}
_REAL = ("tensorrt-cu12", "tensorrt-cu13")
# Modules by which TensorRT's flavours are found, the real one first.
TENSORRTS = ("tensorrt", "tensorrt_bindings", "tensorrt_rtx_bindings")
# What the parts of the product need that run here, by their modules.
_PRODUCT = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "pydantic": "pydantic",
    "rich": "rich",
    "simplejpeg": "simplejpeg",
    "yaml": "PyYAML",
}
_BUILD = ["setuptools", "wheel"]
_HEADERS = ("cuda.h", "cudaProfiler.h")
_SETTINGS = "CUDA_ENABLE_CURAND = False\nCUDA_INC_DIR = {headers!r}\nCUDADRV_LIB_DIR = [{libraries!r}]\n"


def carry(folder: Path, *, cuda: int, tensorrt: str) -> None:
    """Fetch everything that the machine with the GPU may lack, for this Python and this kind of processor.

    Raises:
        EngineError: pip could not.
    """
    suffix = "" if cuda == 13 else f"-cu{cuda}"
    names = [*_PRODUCT.values(), *_BUILD, f"cuda-bindings=={cuda}.*", "pycuda", *FLAVOURS[tensorrt]]
    names += [f"nvidia-cuda-{part}{suffix}=={cuda}.*" for part in ("nvrtc", "runtime", "profiler-api")]
    words = ["download", "--dest", str(folder), *(_NVIDIA if tensorrt in _REAL else []), *names]
    print("pip", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "pip", *words], check=False)
    if done.returncode:
        raise EngineError("pip could not fetch the packages.", fix="See its message above.")


def provide(wheels: Path | None, work: Path) -> list[str]:
    """Make importable what is missing and lies in a folder; returns what cannot be had, and why."""
    site = (work / f"site-{sys.version_info[0]}.{sys.version_info[1]}").resolve()
    site.mkdir(parents=True, exist_ok=True)
    sys.path.append(str(site))
    pip = _Pip(wheels, site, work)
    problems: list[str | None] = []
    missing = [name for module, name in _PRODUCT.items() if not _is_there(module)]
    if missing:
        problems.append(pip.install("the product", missing))
    if not _is_there("cuda.bindings.driver"):
        problems.append(pip.install("cuda-python", ["cuda-bindings"]))
    # All of them at once: they share a folder, and pip replaces folders.
    if not load_nvrtc() or (not _is_there("pycuda") and len(_find_headers()) < len(_HEADERS)):
        problems.append(pip.install("nvrtc", pip.named("nvidia_cuda_")))
    if not _is_there("pycuda"):
        problems.append(pip.build_pycuda())
    if not any(_is_there(module) for module in TENSORRTS):
        problems.append(pip.install("tensorrt", pip.named("tensorrt_"), dependencies=False))
    return [problem for problem in problems if problem]


class _Pip:
    """pip without a network, from a folder into a folder; a failure is returned, never raised."""

    def __init__(self, wheels: Path | None, site: Path, work: Path) -> None:
        self._wheels, self._site, self._work = wheels, site, work

    def named(self, beginning: str) -> list[str]:
        """Return the packages in the folder whose file names begin so."""
        files = sorted(self._wheels.glob(f"{beginning}*")) if self._wheels else []
        return sorted({re.split(r"-\d", file.name)[0] for file in files})

    def install(
        self, label: str, names: list[str], *, dependencies: bool = True, home: Path | None = None
    ) -> str | None:
        """Install packages; returns why that failed."""
        if self._wheels is None or not names:
            return f"{label}: not installed; carry it (`--carry DIR`) and give `--wheels DIR`"
        print(f"installing {', '.join(names)}", flush=True)
        words = ["install", "--no-index", "--find-links", str(self._wheels.resolve()), "--target", str(self._site)]
        words += ["--upgrade", "--disable-pip-version-check", *([] if dependencies else ["--no-deps"]), *names]
        environment = {**os.environ, "PIP_NO_INPUT": "1"} | ({"HOME": str(home)} if home else {})
        done = subprocess.run(
            [sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False, env=environment
        )
        importlib.invalidate_caches()
        log = self._work / f"pip-{label.replace(' ', '-')}.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        return (
            f"{label}: {_reason(done.stdout + done.stderr)} (see {log.name} in the work folder)"
            if done.returncode
            else None
        )

    def build_pycuda(self) -> str | None:
        """Build PyCUDA against the headers that can be found and the driver's own library."""
        if shutil.which("g++") is None:
            return "pycuda: it is built from source, and g++ is missing"
        headers, driver = _find_headers(), driver_library()
        if len(headers) < len(_HEADERS) or driver is None:
            return (
                f"pycuda: it is built from source, and {' or '.join(_HEADERS)} is missing; carry them, or install nvcc"
            )
        libraries, home = (self._work.resolve() / name for name in ("lib", "home"))
        for folder in (libraries, home):
            folder.mkdir(parents=True, exist_ok=True)
        # The driver brings no name to link with.
        link = libraries / "libcuda.so"
        link.unlink(missing_ok=True)
        link.symlink_to(driver)
        # The one file that its build reads settings from.
        settings = _SETTINGS.format(headers=[str(folder) for folder in headers], libraries=str(libraries))
        (home / ".aksetup-defaults.py").write_text(settings, encoding="utf-8")
        return self.install("pycuda", ["pycuda"], home=home)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _find_headers() -> list[Path]:
    """Return the folder of each header that can be found; the machine's own toolkit fits its driver best."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [Path(home) / "include" for home in homes if home]
    folders += [found for entry in sys.path for found in Path(entry).glob("nvidia/*/include")]
    found = (next((folder for folder in folders if (folder / name).is_file()), None) for name in _HEADERS)
    return [folder for folder in found if folder]


def _reason(output: str) -> str:
    """Return the lines by which a failed build is understood."""
    lines = [line.strip() for line in output.splitlines()]
    telling = [line for line in lines if re.search(r"\berror\b:?", line, re.IGNORECASE) and "subprocess" not in line]
    return " / ".join(dict.fromkeys(telling[:2])) or (lines[-1] if lines else "pip said nothing")
