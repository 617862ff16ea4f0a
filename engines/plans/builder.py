"""From `model.int8.onnx` to a plan, with the TensorRT of this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from engines.errors import EngineError
from engines.plans.layers import Layer, read_layers
from engines.plans.library import Library

Typing = Literal["strong", "weak"]
# Called now and then with the phase and the share of its steps that are done; from any thread.
Progress = Callable[[str, float], None]

_LOG = logging.getLogger(__name__)
# TensorRT would take a UINT8 zero point for INT8 and only warn: every value would be off by 128.
_FATAL = ("zero_point", "zero point")


@dataclass(frozen=True)
class BuildOptions:
    """What a plan depends on beside model and machine.

    Attributes:
        workspace_mib: Most scratch memory of a layer; TensorRT's own default is the whole board's.
        optimisation_level: How long TensorRT looks for fast kernels, 0 to 5.
    """

    workspace_mib: int = 256
    optimisation_level: int = 3


@dataclass(frozen=True)
class Built:
    """A new plan.

    Attributes:
        plan: What is deserialised on this machine, and only here.
        typing: `strong`: types are the model's own. `weak`: TensorRT 10's older way, where the first one failed.
        timing_cache: What was measured; makes the next build faster.
        complaints: Warnings of the builder.
    """

    plan: bytes
    typing: Typing
    timing_cache: bytes
    complaints: tuple[str, ...]


class PlanBuilder(Protocol):
    """Who makes a plan of a model: `name` is said beside the plan."""

    @property
    def name(self) -> str: ...

    def __call__(
        self, library: Library, model: bytes, options: BuildOptions, *, timing_cache: bytes = b"", progress: Progress
    ) -> Built:
        """Compile a model; takes from seconds to minutes, and needs a current CUDA context.

        Raises:
            EngineError: The model was refused, or read otherwise than it is meant.
        """


class TensorRtBuilder:
    """Builds from the model as it is.

    Strongly typed first, which is all that TensorRT 11 has; where an old 10.x refuses that, weakly typed with INT8
    allowed: the quantisers of the model then decide.
    """

    name = "tensorrt"

    def __call__(
        self, library: Library, model: bytes, options: BuildOptions, *, timing_cache: bytes = b"", progress: Progress
    ) -> Built:
        ways: list[Typing] = ["strong", "weak"] if library.has_weak_typing else ["strong"]
        problems = []
        for typing in ways:
            built = _build(library, model, options, typing, timing_cache, progress)
            if isinstance(built, Built):
                return built
            _LOG.warning("%sly typed, the engine cannot be built: %s", typing, built)
            problems.append(f"{typing}ly typed, {built}")
        raise EngineError(
            f"TensorRT {library.version} cannot build the engine: {'; '.join(problems)}.",
            fix="Run `edge-engines verify` on the recipe. If it finds nothing, the message above is for the developers.",
        )


def inspect_plan(library: Library, plan: bytes) -> list[Layer]:
    """List a plan's layers; needs a current CUDA context.

    Raises:
        EngineError: The plan cannot be loaded here.
    """
    log = library.new_log()
    runtime = library.trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"the new plan cannot be loaded: {_last(log)}.", fix="Build it again.")
    inspector = engine.create_engine_inspector()
    information = inspector.get_engine_information(library.trt.LayerInformationFormat.JSON)
    try:
        return read_layers(information)
    except (ValueError, KeyError, TypeError) as problem:
        raise EngineError(
            f"TensorRT {library.version} lists the engine's layers in a way that is not known: {problem}.",
            fix="Report it with the output of `edge-agent doctor`.",
        ) from problem


@dataclass(frozen=True)
class Draft:
    """A network that is not built yet, and what must live as long as it."""

    log: Any
    builder: Any
    parser: Any
    network: Any


def draft_network(library: Library, model: bytes, typing: Typing) -> Draft | str:
    """Read a model, or return why it cannot be read."""
    trt, log = library.trt, library.new_log()
    builder = trt.Builder(log)
    strong = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strong if typing == "strong" else 0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        faults = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        return f"the model is not understood ({faults})"
    return Draft(log, builder, parser, network)


def configure(library: Library, draft: Draft, options: BuildOptions, typing: Typing) -> Any:
    """Return the configuration of a build."""
    trt, config = library.trt, draft.builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    config.builder_optimization_level = options.optimisation_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # On by default: on Orin, float32 would have 10 bits of mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    if typing == "weak" and library.has_weak_typing:
        config.set_flag(trt.BuilderFlag.INT8)
    return config


def finish(
    library: Library, draft: Draft, config: Any, typing: Typing, timing_cache: bytes, progress: Progress
) -> Built | str:
    """Return the plan of a network, or why there is none."""
    cache = config.create_timing_cache(timing_cache)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        # It cannot be read, or was measured on another device.
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    config.progress_monitor = _monitor(library.trt, progress)
    plan = draft.builder.build_serialized_network(draft.network, config)
    misread = [text for text in draft.log.complaints if any(word in text for word in _FATAL)]
    if plan is None or misread:
        return misread[0] if misread else _last(draft.log)
    return Built(bytes(plan), typing, bytes(cache.serialize()), tuple(draft.log.complaints))


def _build(
    library: Library, model: bytes, options: BuildOptions, typing: Typing, timing_cache: bytes, progress: Progress
) -> Built | str:
    draft = draft_network(library, model, typing)
    if isinstance(draft, str):
        return draft
    return finish(library, draft, configure(library, draft, options, typing), typing, timing_cache, progress)


def _monitor(trt: Any, progress: Progress) -> Any:
    # A base class that is known only now.
    base: Any = trt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        """Shares are those of the outermost phases; the inner ones only say that the work goes on."""

        def __init__(self) -> None:
            base.__init__(self)
            self.steps: dict[str, int] = {}
            self.now = ("", 0.0)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self.steps[phase] = max(1, steps)
                self.now = (phase, 0.0)
            progress(*self.now)

        def step_complete(self, phase: str, step: int) -> bool:
            if phase in self.steps:
                self.now = (phase, (step + 1) / self.steps[phase])
            progress(*self.now)
            return True

        def phase_finish(self, phase: str) -> None:
            if self.steps.pop(phase, None):
                self.now = (phase, 1.0)
            progress(*self.now)

    return Monitor()


def _last(log: Any) -> str:
    return log.complaints[-1].rstrip(".") if log.complaints else "no reason was given"
