"""How long a step of training takes in bfloat16 and in float32, in turns on this processor.

python benchmarks/bf16.py [--rounds 5] [--size 256]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from engines.processor import prepare_processor

prepare_processor()

import numpy as np  # noqa: E402, torch must find the process prepared
import torch  # noqa: E402

from edge_agent.synthetic import SyntheticPart  # noqa: E402
from engines.corruptions import Corruptor  # noqa: E402
from engines.device import Device, choose_device, set_threads  # noqa: E402
from engines.machine import describe_machine  # noqa: E402
from engines.objective import Pair  # noqa: E402
from engines.schedule import Schedule  # noqa: E402
from engines.trainer import Trainer  # noqa: E402

STEPS, BATCH, FRAMES, RATE = 5, 8, 20, 1e-3
DEVICES = (Device("cpu", torch.bfloat16), Device("cpu", None))
CHOSEN = choose_device("cpu").precision


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="frames of N x N (default: %(default)s)")
    arguments = parser.parse_args()
    part = SyntheticPart(seed=1, size_wh=(arguments.size, arguments.size))
    frames = np.stack([part.render(index).frame for index in range(FRAMES)])
    schedule = Schedule(steps=None, minutes=None, batch=BATCH, seed=0, width=32, head=True)
    set_threads(arguments.size**2 * BATCH)
    trainers = {device.precision: Trainer(3, schedule, device) for device in DEVICES}
    pair = trainers["bf16"].objective.pair(Corruptor(frames, rotates=False), (0, 0), BATCH)
    for trainer in trainers.values():
        time_of_steps(trainer, pair)
    rounds = [
        {name: time_of_steps(trainer, pair) for name, trainer in trainers.items()} for _ in range(arguments.rounds)
    ]
    ratio = statistics.median(times["bf16"] / times["fp32"] for times in rounds)
    print(describe_machine())
    print(", ".join(f"{name} {statistics.median(times[name] for times in rounds):.3f} s a step" for name in trainers))
    print(f"bf16 over fp32 {ratio:.2f}, median of {len(rounds)}; a training here uses {CHOSEN}")
    return 0 if (ratio < 1) == (CHOSEN == "bf16") else 1


def time_of_steps(trainer: Trainer, pair: Pair) -> float:
    """Return the mean time of a step, in seconds."""
    began = time.perf_counter()
    for step in range(STEPS):
        trainer.step(pair, step, RATE)
    return (time.perf_counter() - began) / STEPS


if __name__ == "__main__":
    sys.exit(main())
