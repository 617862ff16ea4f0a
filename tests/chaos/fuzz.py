"""One decoder, fed for a while with what leads atheris (libFuzzer) to code not seen before.

    PYTHONPATH=.:tests python -m chaos.fuzz DECODER FOLDER [libFuzzer's options]

A process of its own, since libFuzzer ends the one it runs in.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 60
_OPTIONS = ("-timeout=5", "-use_value_profile=1", "-rss_limit_mb=2048", "-max_len=20000", f"-max_total_time={SECONDS}")
_TOLD = 2000


def fuzz(name: str, folder: Path) -> dict[str, Any]:
    """Run it for a minute; `failed` is the end of what it said if an input crashed it, hung it or passed wrongly."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "chaos.fuzz", name, folder, *_OPTIONS, f"-artifact_prefix={folder}/"],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    figures = {key: re.findall(rf"{key}: (\d+)", done.stderr) for key in ("cov", "corp")}
    return {
        "decoder": name,
        "seconds": SECONDS,
        "inputs": max(map(int, re.findall(r"^(?:#|Done )(\d+)", done.stderr, re.MULTILINE)), default=0),
        "covered": int(figures["cov"][-1]) if figures["cov"] else 0,
        "kept": int(figures["corp"][-1]) if figures["corp"] else 0,
        "failed": None if done.returncode == 0 else done.stderr[-_TOLD:],
    }


def main() -> None:
    name, folder, *options = sys.argv[1:]
    import atheris

    with atheris.instrument_imports(include=["edge_agent", "engines"]):
        from chaos.decoders import DECODERS
    scratch, corpus = Path(folder) / "scratch", Path(folder) / "corpus"
    scratch.mkdir()
    corpus.mkdir()
    decoder = DECODERS[name](scratch)
    (corpus / "example").write_bytes(decoder.example)
    atheris.Setup([sys.argv[0], *options, str(corpus)], decoder.take)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
