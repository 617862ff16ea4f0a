"""Calibration: batches that lie on the device, their ranges, and the cache of them."""

import numpy as np
import pytest

from fakes.cuda_work import Work
from fakes.evidence import breaks
from fakes.models import inspection_model
from fakes.rules import BrokenRuleError
from fakes.weak_network import FRAME, NBYTES, Draft


def test_ranges_are_those_of_the_batches(draft):
    draft.config.int8_calibrator = draft.calibrator([FRAME // 4])
    assert draft.error() > 0.5


@pytest.mark.parametrize("kind", ["IInt8EntropyCalibrator", "IInt8MinMaxCalibrator", "IInt8LegacyCalibrator"])
def test_calibrators_know_their_algorithm(draft, kind):
    calibrator = draft.calibrator(base=kind)
    assert calibrator.get_algorithm() in draft.trt.CalibrationAlgoType
    draft.config.int8_calibrator = calibrator
    assert draft.build() is not None


def test_a_cache_replaces_the_batches(draft):
    first = draft.config.int8_calibrator
    maps = draft.maps()
    second = draft.config.int8_calibrator = draft.calibrator([np.zeros_like(FRAME)])
    second.cache = first.written
    np.testing.assert_array_equal(draft.maps(), maps)
    assert len(second.frames) == 1
    third = draft.config.int8_calibrator = draft.calibrator()
    third.cache = first.written.replace(b"TRT-100300", b"TRT-080600")
    assert draft.build() is not None
    assert third.frames == []


@breaks("trt-no-scales")
def test_int8_needs_ranges(draft):
    draft.config.int8_calibrator = draft.calibrator([])
    assert draft.refusal() == "trt-no-scales"
    draft.config.int8_calibrator = None
    assert draft.refusal() == "trt-no-scales"
    assert "no scaling factors detected" in draft.logger.messages[-1][1]


@breaks("trt-explicit-calibrator")
def test_explicit_quantisation_needs_no_calibrator(draft):
    explicit = Draft(draft.trt, inspection_model())
    explicit.flag("INT8")
    calibrator = explicit.config.int8_calibrator = explicit.calibrator()
    assert explicit.build() is not None
    assert len(calibrator.frames) == 1
    assert explicit.machine.refused == ["trt-explicit-calibrator"]
    assert "explicit quantization mode" in explicit.logger.messages[-1][1]


@breaks("trt-base-init")
def test_a_calibrator_calls_the_base(draft):
    class Careless(draft.trt.IInt8Calibrator):
        def __init__(self): ...

    with pytest.raises(TypeError, match="__init__"):
        draft.config.int8_calibrator = Careless()


@breaks("trt-context")
def test_calibration_needs_a_context(draft):
    draft.machine.pop()
    assert draft.refusal() == "trt-context"


def calibrate_with(draft, get_batch):
    calibrator = draft.config.int8_calibrator = draft.calibrator()
    calibrator.get_batch = get_batch
    draft.build()


@breaks("trt-calibration-device", "trt-calibration-count", "trt-calibrator-raises", "stream-race")
def test_batches_lie_on_the_device_one_for_each_input(draft):
    host = FRAME.copy()
    with pytest.raises(BrokenRuleError, match="host pointer"):
        calibrate_with(draft, lambda _names: [host.ctypes.data])
    short = draft.machine.alloc_device(NBYTES // 2).device
    with pytest.raises(BrokenRuleError, match="end beyond"):
        calibrate_with(draft, lambda _names: [short])
    block = draft.machine.alloc_device(NBYTES)
    with pytest.raises(BrokenRuleError, match="trt-calibration-count"):
        calibrate_with(draft, lambda _names: [block.device] * 2)
    with pytest.raises(BrokenRuleError, match="ZeroDivisionError"):
        calibrate_with(draft, lambda _names: 1 // 0)
    stream = draft.machine.create_stream(1).handle
    writes = draft.machine.use(block.device, NBYTES, writes=True)
    draft.machine.enqueue(stream, Work("copy", lambda: None, (writes,)))
    with pytest.raises(BrokenRuleError, match="still being written"):
        calibrate_with(draft, lambda _names: [block.device])
    assert len(draft.machine.broken) == 5


@breaks("trt-calibration-batch")
def test_the_batch_size_is_the_networks(draft):
    draft.config.int8_calibrator.batch_size = 8
    assert draft.refusal() == "trt-calibration-batch"
