"""One step of training: a pair in, weights changed. Its whole state can be saved and taken up again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.core_inputs import CORE_INPUTS
from engines.defect_head import DefectHead, head_loss
from engines.device import Device
from engines.forward import Core, as_pictures
from engines.network import Autoencoder
from engines.objective import Answer, Batch, Objective, Pair
from engines.objectives import objective_named
from engines.rounding import fold, measured, rounded
from engines.schedule import LEARNING_RATE, Schedule

_WEIGHT_DECAY = 1e-4
# The head learns at a third of the network's rate. At the same rate, after 500 steps on ball screws, its map told
# synthetic defects from good frames worse (image AUROC 0.67 against 0.72); at a third for both, the network did.
_HEAD_RATE = 1 / 3
# One code of a camera's 255, as much as INT8 moves the reconstruction.
_ROUGHNESS = 1 / 255


@dataclass(frozen=True)
class Step:
    """What came of a step: the loss, and the reconstruction of what was shown, (n, C', h, w) on the device."""

    loss: float
    reconstruction: Tensor


class Trainer:
    """Network, defect head, objective and optimiser.

    Args:
        channels: Channels of the pictures.
        schedule: Gives width, seed and objective.
        device: Where it runs.
        kind: The objective's class; None takes the one that the schedule names.
    """

    def __init__(
        self, channels: int, schedule: Schedule, device: Device, *, kind: type[Objective] | None = None
    ) -> None:
        torch.manual_seed(schedule.seed)
        kind = kind or objective_named(schedule.objective)
        core_input = CORE_INPUTS[kind.core_input]
        network = Autoencoder(
            channels, width=schedule.width, inputs=core_input.planes(channels), skips=kind.skips
        ).train()
        self.network = network.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective: Objective = kind(channels, schedule.width).to(device.name)
        self._core_input, self._core_step = core_input.module(), core_input.step_int8
        self.head = None
        if schedule.head:
            head = DefectHead(channels, width=schedule.width).train()
            self.head = head.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._rounds = False
        self._optimiser = self._new_optimiser()
        self._scaler = torch.amp.GradScaler(device.name, enabled=device.narrow is torch.float16)
        self._device, self._seed = device, schedule.seed

    def step(self, pair: Pair, step: int, rate: float) -> Step:
        """Learn from one pair.

        Args:
            pair: Made by the objective.
            step: Number of the step; with the schedule's seed it fixes every chance.
            rate: Learning rate.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group["share"]
        shown, batch = self._batch(pair, step)
        narrow = self._device.narrow
        with torch.autocast(self._device.name, narrow, enabled=narrow is not None):
            answer = self.objective.answer(self.network, batch)
            logits = None if self.head is None else self.head(shown, _rough(answer, batch))
        loss = self.objective.loss(answer, batch)
        if logits is not None:
            loss = loss + head_loss(logits.float(), shown, batch.target)
        self._optimiser.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self.objective.learn(answer, batch)
        return Step(loss.item(), answer.reconstruction.detach())

    def begin_rounding(self, pairs: Iterable[Pair]) -> None:
        """Fold batch normalisation into the weights and round as INT8 will, from now on.

        Args:
            pairs: What the ranges are measured on.
        """
        self._fold()
        with ExitStack() as stack, torch.no_grad():
            stack.enter_context(measured(self.network, {"stem": self._core_step}))
            if self.head is not None:
                stack.enter_context(measured(self.head, {"stem": CORE_INPUTS["picture"].step_int8}))
            for pair in pairs:
                shown, batch = self._batch(pair, 0)
                reconstruction = self.network(batch.seen)
                if self.head is not None:
                    self.head(shown, reconstruction)

    def core(self) -> Core:
        """Return what was trained, in evaluation mode, in float32 on the CPU; this trainer must not be used after."""
        modules = (self.network, *([] if self.head is None else [self.head]))
        for module in modules:
            module.cpu().eval()
            for _, convolution in rounded(module):
                convolution.rounds = False
        return Core(self.network, self.objective.core_input, self.head)

    def is_finite(self) -> bool:
        """Whether everything that was learned is a number, and finite."""
        modules = (self.network, self.objective, *([] if self.head is None else [self.head]))
        tensors = (tensor for module in modules for tensor in chain(module.parameters(), module.buffers()))
        return all(bool(tensor.isfinite().all()) for tensor in tensors)

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "rounds": self._rounds,
            "network": self.network.state_dict(),
            "head": None if self.head is None else self.head.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state that `state` returned.

        Raises:
            RuntimeError: It belongs to another network.
            KeyError: It is not such a state.
        """
        if state["rounds"]:
            self._fold()
        self.network.load_state_dict(state["network"])
        if self.head is not None:
            self.head.load_state_dict(state["head"])
        self.objective.load_state_dict(state["objective"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])

    def _new_optimiser(self) -> torch.optim.Optimizer:
        shared = [*self.network.parameters(), *self.objective.shared_parameters()]
        groups: list[dict[str, Any]] = [{"params": shared, "share": 1.0}]
        if self.head is not None:
            groups.append({"params": list(self.head.parameters()), "share": _HEAD_RATE})
        return torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=_WEIGHT_DECAY, fused=True)

    def _fold(self) -> None:
        self._rounds = True
        for module in (self.network, *([] if self.head is None else [self.head])):
            fold(module)
            for _, convolution in rounded(module):
                convolution.rounds = True
        self._optimiser = self._new_optimiser()

    def _batch(self, pair: Pair, step: int) -> tuple[Tensor, Batch]:
        device = self._device.name
        target = as_pictures(pair.target, device)
        shown = target if pair.shown is pair.target else as_pictures(pair.shown, device)
        hidden = None if pair.hidden is None else torch.from_numpy(pair.hidden).to(device).unsqueeze(1).float()
        (seed,) = np.random.SeedSequence((self._seed, step)).generate_state(1)
        seen = self._core_input(shown).contiguous(memory_format=torch.channels_last)
        return shown.contiguous(memory_format=torch.channels_last), Batch(seen, target, hidden, int(seed))


def _rough(answer: Answer, batch: Batch) -> Tensor:
    """Return the reconstruction as the head learns from it, (n, C', h, w) float32.

    The autoencoder is to rebuild what is normal, whether that suits the head or not: no gradient passes. With noise
    of one code the head learns not to lean on what INT8 will round away.
    """
    reconstruction = answer.reconstruction.detach().float()
    return reconstruction + _ROUGHNESS * batch.noise(reconstruction)
