from dataclasses import replace

import cv2
import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from engines.core_inputs import CORE_INPUTS
from engines.defect_head import doubt, head_loss
from engines.export import export_parts, join
from engines.forward import as_pictures, error_maps_of, seen_of
from engines.images import read_image
from engines.quantize import quantize_core
from engines.reduction import Geometry
from engines.schedule import Schedule
from engines.structure import CORE_INPUT, CORE_PICTURE, check_structure, last_convolutions
from engines.training import train

SIDE = 64


@pytest.fixture(scope="module")
def pictures(good_frames_folder):
    frames = [read_image(good_frames_folder / f"{index:03d}.png") for index in range(8)]
    return np.stack([cv2.resize(frame, (SIDE, SIDE)) for frame in frames])


@pytest.fixture(scope="module", params=[1, 3])
def trained(request, pictures):
    schedule = Schedule(steps=6, minutes=None, batch=4, seed=0, width=16, head=True)
    frames = np.ascontiguousarray(pictures[..., : request.param])
    return frames, train(frames, schedule, rotates=False).core


def test_the_loss_asks_for_nothing_where_nothing_changed_and_for_much_where_much_did():
    clean = torch.full((1, 3, 8, 8), 0.5)
    shown = clean.clone()
    shown[..., :4] += 0.3
    changed = torch.full((1, 1, 8, 8), -8.0)
    changed[..., :4] = 8.0
    assert head_loss(changed, shown, clean) < 0.1
    assert head_loss(-changed, shown, clean) > 4
    assert head_loss(torch.full_like(changed, -8.0), clean, clean) < 0.001


def test_a_faint_change_is_asked_for_faintly():
    clean = torch.zeros(1, 1, 1, 1)
    logits = torch.linspace(-8, 8, 1601)
    best = [
        logits[np.argmin([head_loss(logit.reshape(1, 1, 1, 1), clean + change, clean) for logit in logits])].item()
        for change in (0.01, 0.06, 0.3)
    ]
    labels = [1 / (1 + np.exp(-logit)) for logit in best]
    np.testing.assert_allclose(labels, [1 - np.exp(-change / 0.06) for change in (0.01, 0.06, 0.3)], atol=0.01)


def test_doubt_is_never_negative_and_rises_with_the_logit():
    values = doubt(torch.linspace(-30, 30, 61))
    assert (values >= 0).all()
    assert (values.diff() > 0).all()
    assert values[0] < 1e-6


def test_the_head_learns_to_find_what_was_changed(pictures):
    schedule = Schedule(steps=150, minutes=None, batch=8, seed=0, width=16, head=True)
    core = train(pictures, schedule, rotates=False).core
    defective = pictures.copy()
    defective[:, 20:32, 24:36] = 255 - defective[:, 20:32, 24:36]
    inside = np.zeros((SIDE, SIDE), bool)
    inside[20:32, 24:36] = True
    maps = np.stack([m[0] for m in error_maps_of(core, ["learned"], defective)])
    assert maps[:, inside].mean() > 1.5 * maps[:, ~inside].mean()


def test_the_head_does_not_change_what_the_autoencoder_learns(pictures):
    schedule = Schedule(steps=3, minutes=None, batch=4, seed=0, width=16)
    alone = train(pictures, schedule, rotates=False).core
    beside = train(pictures, replace(schedule, head=True), rotates=False).core
    for name, value in alone.network.state_dict().items():
        torch.testing.assert_close(value, beside.network.state_dict()[name], msg=name)


def test_the_exported_head_gives_what_torch_gives_in_all_precisions(trained):
    frames, core = trained
    channels = frames.shape[3]
    geometry = Geometry((SIDE, SIDE, channels), (0, 0, SIDE, SIDE), (SIDE, SIDE))
    parts = export_parts(geometry, core, ["l2", "learned"], box=1)
    assert len(last_convolutions(parts.core)) == 2
    (expected,) = error_maps_of(core, ["l2", "learned"], frames[:1])
    models = {"fp32": join(parts)}
    for placement in ("tensorrt", "cpu"):
        feeds = (
            {CORE_INPUT: seen_of(frames[i : i + 1], "edges"), CORE_PICTURE: as_pictures(frames[i : i + 1]).numpy()}
            for i in range(4)
        )
        core_int8 = quantize_core(parts.core, feeds, core_input=CORE_INPUTS["edges"], placement=placement)
        models[placement] = join(parts, core=core_int8)
    for name, model in models.items():
        check_structure(model, int8=name == "tensorrt")
        (maps,) = ort.InferenceSession(model.SerializeToString()).run(None, {"frame": frames[:1]})
        tolerance = 1e-3 if name == "fp32" else 0.1
        assert np.abs(maps[0] - expected).mean() < tolerance * expected.mean(), name


def test_without_its_map_the_head_is_not_in_the_graph(trained):
    frames, core = trained
    channels = frames.shape[3]
    geometry = Geometry((SIDE, SIDE, channels), (0, 0, SIDE, SIDE), (SIDE, SIDE))
    assert len(last_convolutions(export_parts(geometry, core, ["l2"], box=1).core)) == 1
    assert core.parameters(with_head=True) > core.parameters(with_head=False)


def test_what_the_head_sees_keeps_all_camera_codes(trained):
    frames, core = trained
    channels = frames.shape[3]
    geometry = Geometry((SIDE, SIDE, channels), (0, 0, SIDE, SIDE), (SIDE, SIDE))
    parts = export_parts(geometry, core, ["learned"], box=1)
    feeds = [{CORE_INPUT: seen_of(frames[:1], "edges"), CORE_PICTURE: as_pictures(frames[:1]).numpy()}]
    model = quantize_core(parts.core, feeds, core_input=CORE_INPUTS["edges"], placement="tensorrt")
    (concat,) = (node.output[0] for node in model.graph.node if node.op_type == "Concat")
    after = {concat}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in {"Mul", "Sub"} and after & set(node.input):
            after.update(node.output)
    (step,) = (n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in after)
    assert constants[step] == pytest.approx(1 / 128)
