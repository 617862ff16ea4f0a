"""Fetch what the structural tests need from the package index, once, without what it depends on.

    python tests/structure/fetch.py FOLDER

TensorRT for RTX builds engines without a GPU. Of the bindings of the versions that JetPack brings only the names are
read. None of it is installed, imported by the product, or shipped; all of it is under NVIDIA's own licence.
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
}


def fetch(folder: Path) -> None:
    for name, packages in PACKAGES.items():
        target = folder / name
        if target.is_dir():
            continue
        print(f"fetching {', '.join(packages)}", flush=True)
        partial = folder / f".{name}"
        words = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade", "--target", partial]
        subprocess.run([sys.executable, "-m", "pip", *words, *packages], check=True)
        partial.rename(target)


if __name__ == "__main__":
    try:
        fetch(Path(sys.argv[1]))
    except subprocess.CalledProcessError as problem:
        sys.exit(problem.returncode)
