"""Fetch what the structural tests need from the package index, once, without what it depends on.

    python tests/structure/fetch.py FOLDER

TensorRT for RTX builds engines without a GPU. Of the bindings of the versions that JetPack brings only the names are
read. Both are under NVIDIA's own licence, and neither is installed, imported by the product, or shipped. OpenCV 4.8 is
what JetPack 6 has; `make opencv4` puts it before the newest, which the other tests use.
"""

import subprocess
import sys
from pathlib import Path

RTX = "1.7.1.116"
PACKAGES = {
    "tensorrt-rtx": [f"tensorrt-rtx-cu13-libs=={RTX}", f"tensorrt-rtx-cu13-bindings=={RTX}"],
    # JetPack 6, 7.0 and 7.1, 7.2, and 7.2.2 with the newest TensorRT.
    "tensorrt-10.3.0": ["tensorrt-cu12-bindings==10.3.0"],
    "tensorrt-10.13.3.9": ["tensorrt-cu12-bindings==10.13.3.9"],
    "tensorrt-10.16.1.11": ["tensorrt-cu12-bindings==10.16.1.11"],
    "tensorrt-11.4.0.106": ["tensorrt-cu13-bindings==11.4.0.106"],
    "opencv-4.8": ["opencv-python-headless==4.8.1.78", "numpy==1.26.4"],
}


# Of the bindings only the names are read: they need not fit this Python.
FOREIGN = ["--python-version", "3.12", "--platform", "manylinux_2_17_x86_64", "--platform", "manylinux_2_28_x86_64"]


def fetch(target: Path, packages: list[str]) -> bool:
    """Fetch packages into a folder of their own, unless it is there; returns whether it is there now."""
    if target.is_dir():
        return True
    print(f"fetching {', '.join(packages)}", flush=True)
    partial = target.with_name(f".{target.name}")
    words = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade", "--target", partial]
    # numpy 1 would be built from source on Python 3.13: it has no wheel for it.
    words += ["--only-binary", ":all:", *(FOREIGN if target.name.startswith("tensorrt-1") else [])]
    if subprocess.run([sys.executable, "-m", "pip", *words, *packages], check=False).returncode:
        return False
    partial.rename(target)
    return True


if __name__ == "__main__":
    cache = Path(sys.argv[1])
    missing = [name for name, packages in PACKAGES.items() if not fetch(cache / name, packages)]
    sys.exit(f"not there: {', '.join(missing)}; what needs them will be skipped" if missing else 0)
