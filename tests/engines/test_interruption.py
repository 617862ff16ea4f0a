"""A training that is interrupted loses a minute at most, and continues as if nothing had happened."""

import json
import re
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from importlib import metadata

import cv2
import numpy as np
import pytest
import torch

from engines.checkpoint import Checkpoint
from engines.cli import main
from engines.device import choose_device
from engines.errors import EngineError, UsageError
from engines.images import read_image
from engines.objectives.plain import Plain
from engines.order import Order, training_facts
from engines.recipe import load_recipe
from engines.reduction import plan_geometry
from engines.schedule import TIMED_STEPS, Schedule
from engines.survey import survey
from engines.training import train

WORDS = ["--size", "64", "--width", "16", "--batch", "2", "--errors", "l2"]
PROGRAM = """
import signal, sys
from pathlib import Path
from engines.make_recipe import make_recipe
from engines.order import Order
from engines.schedule import Schedule
signal.signal(signal.SIGTERM, signal.default_int_handler)
make_recipe(
    Order(
        images=Path(sys.argv[1]), recipe=Path(sys.argv[2]), name=None, map_shape=64, roi_xywh_px=None, errors=["l2"],
        resize="none", rotates=False, schedule=Schedule(int(sys.argv[3]), None, 2, 0, 16),
    ),
    checkpoint_period_s=0.0,
)
"""


@pytest.fixture(scope="module")
def pictures(good_frames_folder):
    frames = [read_image(good_frames_folder / f"{index:03d}.png") for index in range(8)]
    return np.stack([cv2.resize(frame, (64, 64)) for frame in frames])


class StoppedError(Exception):
    pass


class StopsAt:
    """A log that interrupts the training."""

    def __init__(self, step):
        self.step = step

    def add(self, step, **_):
        if step == self.step:
            raise StoppedError


def schedule(objective="restore", steps=8, minutes=None):
    return Schedule(steps=steps, minutes=minutes, batch=2, seed=3, width=16, objective=objective)


def checkpoint(tmp_path, period_s=0.0, **facts):
    return Checkpoint(tmp_path / "checkpoint", {"--width": 16, **facts}, period_s=period_s)


def train_with_a_break(tmp_path, pictures, plan, *, stop_at):
    with pytest.raises(StoppedError):
        train(pictures, plan, rotates=True, checkpoint=checkpoint(tmp_path), log=StopsAt(stop_at))
    state = checkpoint(tmp_path).load()
    assert len(state["losses"]) == stop_at
    return train(pictures, plan, rotates=True, checkpoint=checkpoint(tmp_path), interrupted=state)


def assert_same(first, second):
    assert first.steps == second.steps
    assert first.losses == second.losses
    for name, value in first.core.network.state_dict().items():
        assert torch.equal(value, second.core.network.state_dict()[name]), name


@pytest.mark.parametrize("objective", ["restore", "masked", "contractive", "variational", "adversarial"])
def test_a_resumed_run_gives_the_same_weights(tmp_path, pictures, objective):
    whole = train(pictures, schedule(objective), rotates=True)
    resumed = train_with_a_break(tmp_path, pictures, schedule(objective), stop_at=5)
    assert (whole.continued_at, resumed.continued_at) == (0, 5)
    assert_same(whole, resumed)


def test_steps_reproduce_what_minutes_found_also_after_a_break(tmp_path, pictures):
    resumed = train_with_a_break(tmp_path, pictures, schedule(steps=None, minutes=0.05), stop_at=TIMED_STEPS + 3)
    assert resumed.steps > TIMED_STEPS + 3
    assert_same(resumed, train(pictures, schedule(steps=resumed.steps), rotates=True))


def test_minutes_without_a_break_give_the_same_as_steps(pictures):
    timed = train(pictures, schedule(steps=None, minutes=0.04), rotates=False)
    assert_same(timed, train(pictures, schedule(steps=timed.steps), rotates=False))


def test_nothing_is_kept_before_the_number_of_steps_is_fixed(tmp_path, pictures):
    with pytest.raises(StoppedError):
        train(
            pictures,
            schedule(steps=None, minutes=1),
            rotates=False,
            checkpoint=checkpoint(tmp_path),
            log=StopsAt(TIMED_STEPS - 2),
        )
    assert not list(tmp_path.iterdir())


def test_a_finished_training_is_not_trained_again(tmp_path, pictures):
    finished = train(pictures, schedule(), rotates=False, checkpoint=checkpoint(tmp_path, period_s=1e9))
    again = train(pictures, schedule(), rotates=False, interrupted=checkpoint(tmp_path).load())
    assert again.continued_at == 8
    assert_same(finished, again)


class Spoils(Plain):
    """At the fourth step the loss is no number."""

    said = "the loss became nan at step 3"
    calls = 0

    def loss(self, answer, batch):
        self.calls += 1
        loss = super().loss(answer, batch)
        return self.spoiled(loss, answer) if self.calls == 4 else loss

    def spoiled(self, loss, answer):
        return loss * torch.nan


class SpoilsWeights(Spoils):
    """At the fourth step the loss is fine and its derivative is infinite."""

    said = "weights are infinite or no numbers after 4 steps"

    def spoiled(self, loss, answer):
        return loss + (answer.reconstruction.float() * 0).sum().sqrt()


@pytest.mark.parametrize("kind", [Spoils, SpoilsWeights])
@pytest.mark.parametrize("steps", [4, 8])
def test_a_training_that_fails_stops_and_keeps_the_last_good_checkpoint(tmp_path, pictures, kind, steps):
    with pytest.raises(EngineError, match=f"{kind.said}.*another --seed"):
        train(pictures, schedule("plain", steps), rotates=False, checkpoint=checkpoint(tmp_path), kind=kind)
    state = checkpoint(tmp_path).load()
    assert len(state["losses"]) == 3
    assert all(value.isfinite().all() for value in state["trainer"]["network"].values())
    with pytest.raises(EngineError, match=kind.said):
        train(pictures, schedule("plain", 4), rotates=False, kind=kind)


class FailsAt4(Plain):
    """At the fourth step something is raised."""

    calls = 0

    def loss(self, answer, batch):
        self.calls += 1
        if self.calls == 4:
            self.fail()
        return super().loss(answer, batch)


class ShortForTorch(FailsAt4):
    said = "can't allocate memory: you tried to allocate 4000000000000000 bytes"

    def fail(self):
        torch.empty(10**15)


class ShortForNumpy(Plain):
    said = "Unable to allocate 7.11 PiB"

    def pair(self, corruptor, seed, count):
        if seed[-1] == 3:
            np.empty(10**15)
        return super().pair(corruptor, seed, count)


class ShortForCuda(FailsAt4):
    said = "CUDA out of memory. Tried to allocate 20.00 MiB"

    def fail(self):
        raise torch.OutOfMemoryError(f"{self.said}.")


class ShortForCublas(FailsAt4):
    said = "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate"

    def fail(self):
        raise RuntimeError(f"CUDA error: {self.said}(handle)`")


class SaysNothing(FailsAt4):
    said = "MemoryError"

    def fail(self):
        raise MemoryError


@pytest.mark.parametrize("kind", [ShortForTorch, ShortForNumpy, ShortForCuda, ShortForCublas, SaysNothing])
def test_memory_that_does_not_suffice_is_a_message_and_the_checkpoint_stays(tmp_path, pictures, kind):
    with pytest.raises(EngineError, match=f"memory does not .*{re.escape(kind.said)}.*--batch, --width or --size"):
        train(pictures, schedule("plain"), rotates=False, checkpoint=checkpoint(tmp_path), kind=kind)
    assert len(checkpoint(tmp_path).load()["losses"]) == 3


class Mistaken(FailsAt4):
    def fail(self):
        raise RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")


def test_another_error_of_torch_is_none_of_memory(pictures):
    with pytest.raises(RuntimeError, match="size of tensor a"):
        train(pictures, schedule("plain"), rotates=False, kind=Mistaken)


def test_a_checkpoint_with_other_facts_is_refused(tmp_path):
    checkpoint(tmp_path, **{"--seed": 1}).save({"steps": 3})
    assert checkpoint(tmp_path, **{"--seed": 1}).load() == {"steps": 3}
    with pytest.raises(UsageError, match=r"--seed was 1 and is 2; --roi was not given and is 1,1,9,9.*rm -r"):
        checkpoint(tmp_path, **{"--seed": 2, "--roi": "1,1,9,9"}).load()


def test_a_training_of_another_version_is_not_continued(tmp_path, good_frames_folder, monkeypatch):
    images = survey(good_frames_folder, resize="none")
    schedule = Schedule(steps=3, minutes=None, batch=2, seed=0, width=16)
    order = Order(good_frames_folder, tmp_path / "recipe", None, 64, None, None, "none", False, schedule)  # noqa: FBT003
    facts = partial(training_facts, order, images, plan_geometry(images.frame_shape, None, 64), choose_device("cpu"))
    Checkpoint(tmp_path / "checkpoint", facts()).save({"steps": 3})
    monkeypatch.setattr(metadata, "version", lambda _: "9.9")
    with pytest.raises(UsageError, match=r"the version of edge-agent was .* and is 9\.9.*rm -r"):
        Checkpoint(tmp_path / "checkpoint", facts()).load()


@pytest.mark.parametrize("damage", [lambda c: c[:-5], lambda c: c[:900] + b"\1" + c[901:], lambda _: b""])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    checkpoint(tmp_path).save({"weights": torch.arange(1000.0)})
    path = tmp_path / "checkpoint"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UsageError, match=r"checkpoint is damaged.*rm -r"):
        checkpoint(tmp_path).load()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    kept = checkpoint(tmp_path)
    kept.save({"weights": torch.arange(1000.0)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            kept.save({"weights": torch.arange(2000.0)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(kept.load()["weights"]) == 1000
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def start(folder, recipe, steps):
    # A shell lets what it starts in the background ignore Ctrl-C, and so would everything that these tests start.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    return subprocess.Popen(
        [sys.executable, "-c", heeds + PROGRAM, str(folder), str(recipe), str(steps)], stderr=subprocess.PIPE
    )


def wait_for(path, process):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_the_same_command_continues_after_a_signal(tmp_path, good_frames_folder, capsys, how):
    recipe, partial = tmp_path / "recipe", tmp_path / ".recipe.partial"
    process = start(good_frames_folder, recipe, 150)
    wait_for(partial / "checkpoint", process)
    process.send_signal(how)
    error = process.communicate(timeout=60)[1].decode()
    left = {path.name for path in partial.iterdir() if not path.name.startswith(".")}
    if how == signal.SIGKILL:
        assert left == {"cache", "checkpoint", "lock", "recipe"}
    else:
        assert left == {"checkpoint", "lock"}
        assert "the same command continues there" in error
    assert not recipe.exists()
    words = ["train", str(good_frames_folder), "--recipe", str(recipe), *WORDS]
    assert main([*words, "--steps", "140"]) == 64
    assert "--steps was 150 and is 140" in capsys.readouterr().err
    assert main([*words, "--steps", "150", "--json", str(tmp_path / "t.json")]) == 0
    figures = json.loads((tmp_path / "t.json").read_text())
    assert f"continuing at step {figures['continued_at_step']:,} of 150" in capsys.readouterr().err
    assert figures["energy_wh"] is None
    assert "interrupted" in figures["energy_note"]
    assert load_recipe(recipe).training.steps == 150
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe", "t.json"]


def test_a_recipe_is_made_by_one_program_at_a_time(tmp_path, good_frames_folder, capsys):
    recipe = tmp_path / "recipe"
    process = start(good_frames_folder, recipe, 100_000)
    try:
        wait_for(tmp_path / ".recipe.partial" / "checkpoint", process)
        assert main(["train", str(good_frames_folder), "--recipe", str(recipe), *WORDS, "--steps", "3"]) == 64
        assert "another program is making" in capsys.readouterr().err
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
