"""The plan of a model on this machine: from the cache, or built now."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import EngineError
from engines.files import sha256_of
from engines.plans.builder import BuildOptions, PlanBuilder, Progress, TensorRtBuilder, inspect_plan
from engines.plans.layers import Int8Report, int8_report
from engines.plans.library import Library
from engines.plans.store import PlanKey, PlanStore, StoredPlan, default_store
from engines.runtime.cuda_memory import DeviceFacts

_LOG = logging.getLogger(__name__)
_CONVOLUTION_MARK = "core/"


@dataclass(frozen=True)
class ProvidedPlan:
    """A plan that may be deserialised here.

    Attributes:
        key: What it depends on.
        path: Where it is kept.
        content: The bytes to deserialise.
        facts: How it was built: by whom, TensorRT's typing, seconds, layers, reformats, convolutions in INT8, and the memory
            for frames that `bench` chose.
        built_now: It was not in the cache.
    """

    key: PlanKey
    path: Path
    content: bytes
    facts: dict[str, Any]
    built_now: bool


def provide_plan(
    library: Library,
    device: DeviceFacts,
    model: Path,
    *,
    progress: Progress,
    store: PlanStore | None = None,
    builder: PlanBuilder | None = None,
    again: bool = False,
) -> ProvidedPlan:
    """Return the plan of a model; needs a current CUDA context.

    Whoever built it, it is kept in the same place: the agent takes what it finds there.

    Args:
        library: TensorRT.
        device: The GPU that it is for.
        model: `model.int8.onnx` of a recipe.
        progress: Called while it is built.
        store: Where plans are kept; None takes this user's.
        builder: Who is to build it, or to have built it; None takes any plan, and builds one with TensorRT alone.
        again: Build it even if there is one.

    Raises:
        EngineError: It cannot be built, or not kept; or a convolution of the core does not run in INT8.
    """
    store = store or default_store()
    key = PlanKey(sha256_of(model), library.version, str(device), device.driver, BuildOptions())
    stored = None if again else store.load(key)
    if stored is not None and (builder is None or builder_of(stored.facts) == builder.name):
        return ProvidedPlan(key, store.path_of(key), stored.content, stored.facts, built_now=False)
    stored = _build(library, model, key, store, builder or TensorRtBuilder(), progress)
    return ProvidedPlan(key, store.path_of(key), stored.content, stored.facts, built_now=True)


def _build(
    library: Library, model: Path, key: PlanKey, store: PlanStore, builder: PlanBuilder, progress: Progress
) -> StoredPlan:
    began_s = time.monotonic()
    content = model.read_bytes()
    built = builder(library, content, key.options, timing_cache=store.timing_cache(key), progress=progress)
    store.save_timing_cache(key, built.timing_cache)
    layers = inspect_plan(library, built.plan)
    report = int8_report(layers, int8_convolutions(content))
    _check(library, report)
    facts = {
        "builder": builder.name,
        "typing": built.typing,
        "seconds": round(time.monotonic() - began_s, 1),
        "layers": len(layers),
        "reformats": sum(layer.is_reformat for layer in layers),
        "int8_convolutions": len(report.int8),
        "hidden_convolutions": len(report.hidden),
        "complaints": list(built.complaints),
    }
    return store.save(key, built.plan, facts)


def builder_of(facts: dict[str, Any]) -> str:
    """Return who built a plan; those that do not say it are older than the second builder."""
    return str(facts.get("builder", TensorRtBuilder.name))


def int8_convolutions(model: bytes) -> list[str]:
    """Return the names of the core's convolutions that must run in INT8: all but the last of each network."""
    try:
        import onnx

        from engines.structure import last_convolutions
    except ModuleNotFoundError as problem:
        raise EngineError(
            "a plan cannot be built without onnx.", fix='Install it with `pip install "edge-agent[tensorrt]"`.'
        ) from problem
    whole = onnx.load_model_from_string(model)
    last = [node.name for node in last_convolutions(whole)]
    return [
        node.name
        for node in whole.graph.node
        if node.op_type == "Conv" and node.name.startswith(_CONVOLUTION_MARK) and node.name not in last
    ]


def _check(library: Library, report: Int8Report) -> None:
    if report.floating:
        raise EngineError(
            f"TensorRT {library.version} runs {len(report.floating)} convolutions of the core without INT8: "
            f"{', '.join(report.floating[:3])}.",
            fix="Run `edge-engines verify` on the recipe; if it finds nothing, report it with the output of `doctor`.",
        )
    if not report.int8:
        raise EngineError(
            f"TensorRT {library.version} does not say of any convolution whether it runs in INT8.",
            fix="Report it with the output of `edge-agent doctor` and `edge-engines inspect RECIPE`.",
        )
    if report.hidden:
        _LOG.warning(
            "%d convolutions are hidden in fused layers; whether they run in INT8 is not known", len(report.hidden)
        )
