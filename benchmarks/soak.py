"""Memory, descriptors and threads of agent and camera process over many frames.

    python benchmarks/soak.py [--frames 100000] [--json FILE]

Makes a 64 x 64 recipe of a synthetic part, runs the agent in free run over a folder that begins again at its end, with
a Mosquitto of its own and a consumer that acknowledges, and samples both processes twice a second. Flat means that the
last quarter of the run uses at most 2 MB more than the second quarter.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stand import BIN, TOPICS, find_broker, mosquitto, running_agent, scratch_folder

from engines.command_line import write_json
from engines.machine import describe_machine

MOST_MB = 200
FLAT_MB = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    broker = find_broker()
    if broker is None:
        return 66
    with scratch_folder() as folder:
        make_recipe(folder)
        samples = soak(folder, broker, arguments.frames)
    figures = summarise(samples)
    print(describe_machine())
    for name, row in figures.items():
        print(name, ", ".join(f"{key} {value:.1f}" for key, value in row.items()))
    write_json(arguments.json, {"machine": describe_machine(), "figures": figures, "samples": samples})
    return 0 if all(r["growth_mb"] <= FLAT_MB and r["most_mb"] < MOST_MB for r in figures.values()) else 1


def make_recipe(folder: Path) -> None:
    for command in (
        ["edge-agent", "record", "--camera", "synthetic://plate?seed=1&size=64x64", "good", "--frames", "60"],
        ["edge-engines", "train", "good", "--recipe", "recipe", "--size", "64", "--width", "16", "--steps", "100"],
        ["edge-calibrate", "fit", "recipe", "--images", "good", "--false-reject-rate", "0.05"],
    ):
        subprocess.run([BIN / command[0], *command[1:]], cwd=folder, check=True)


def soak(folder: Path, broker: str, frames: int) -> list[dict[str, float]]:
    camera = {"uri": "folder://good?loop=1", "mode": "free_run"}
    samples: list[dict[str, float]] = []
    with (
        mosquitto(broker, folder) as port,
        running_agent(folder, folder / "recipe", port, camera=camera, engine={"threads": 1}) as agent,
        acknowledging_consumer(port),
    ):
        while not samples or samples[-1]["frames"] < frames:
            time.sleep(0.5)
            if agent.poll() is not None:
                raise SystemExit((folder / "agent.log").read_text()[-2000:])
            sample = take_sample(folder / "state" / "outbox.db", agent.pid)
            if sample is not None:
                samples.append(sample)
                print(f"\r{sample['frames']:.0f} of {frames} frames", end="", file=sys.stderr)
    print(file=sys.stderr)
    return samples


@contextmanager
def acknowledging_consumer(port: int) -> Iterator[None]:
    address = ["--broker", f"127.0.0.1:{port}", "--site", TOPICS.site, "--station", TOPICS.station]
    process = subprocess.Popen([BIN / "edge-agent", "watch", *address, "--consumer", "plc"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def take_sample(outbox: Path, agent: int) -> dict[str, float] | None:
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    try:
        with sqlite3.connect(f"file:{outbox}?mode=ro", uri=True, timeout=5) as database:
            (frames,) = database.execute("SELECT max(seq) FROM verdicts").fetchone()
            (waiting,) = database.execute("SELECT count(*) FROM verdicts WHERE acknowledged = 0").fetchone()
    except sqlite3.OperationalError:
        return None
    if not children or frames is None:
        return None
    sample = {"frames": frames, "unacknowledged": waiting, "outbox_mb": outbox.stat().st_size / 1e6}
    for name, process in (("agent", str(agent)), ("camera", children[0])):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        sample[f"{name}_mb"] = int(status["VmRSS"].split()[0]) / 1024
        sample[f"{name}_threads"] = int(status["Threads"])
        sample[f"{name}_descriptors"] = len(list(Path(f"/proc/{process}/fd").iterdir()))
    return sample


def summarise(samples: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    quarter = max(1, len(samples) // 4)
    second, last = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
    figures = {}
    for name in ("agent", "camera"):
        before, after = (statistics.median(s[f"{name}_mb"] for s in part) for part in (second, last))
        figures[name] = {
            "frames": samples[-1]["frames"],
            "most_mb": max(s[f"{name}_mb"] for s in samples),
            "growth_mb": after - before,
            "threads": samples[-1][f"{name}_threads"],
            "descriptors": samples[-1][f"{name}_descriptors"],
        }
    return figures


if __name__ == "__main__":
    sys.exit(main())
