"""Cut and stitched, a picture is what it was, and where two tiles meet there is no step."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from engines.debug_graph import with_reconstruction
from engines.defect_head import DefectHead
from engines.export import export_parts, join
from engines.forward import Core, error_maps_of
from engines.graph import CoreGraph, Front, InspectionGraph, Tail
from engines.network import Autoencoder
from engines.reduction import Geometry, reduce_frame
from engines.structure import check_structure, shapes_of
from engines.tile_planes import Cutter, Stitcher
from engines.tiling import plan_tiling

TILINGS = [((128, 208), (2, 3)), ((64, 160), (1, 3)), ((176, 64), (3, 1)), ((80, 96), (1, 1)), ((96, 96), (2, 2))]
FRAMES_AT_ONCE = 2


@pytest.fixture(params=TILINGS, ids=str)
def tiling(request):
    return plan_tiling(*request.param)


def planes(tiling, channels=3):
    shape = FRAMES_AT_ONCE, channels, tiling.rows.length, tiling.columns.length
    return torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))


def test_what_is_cut_and_stitched_is_the_same_bit_by_bit(tiling):
    whole, other = planes(tiling), planes(tiling, channels=1)
    for again, before in zip(Stitcher(tiling)(*Cutter(tiling)(whole, other)), (whole, other), strict=True):
        assert torch.equal(again, before)


def test_tiles_lie_along_the_batch_column_by_column(tiling):
    whole = planes(tiling)
    (tiles,) = Cutter(tiling)(whole)
    assert tiles.shape == (FRAMES_AT_ONCE * tiling.count, 3, *tiling.tile_shape)
    rows, columns = len(tiling.rows.starts), len(tiling.columns.starts)
    for index, (down, across) in enumerate(tiling.windows):
        row, column = divmod(index, columns)
        first = (column * rows + row) * FRAMES_AT_ONCE
        assert torch.equal(tiles[first : first + FRAMES_AT_ONCE], whole[:, :, down, across])


@settings(max_examples=20, deadline=None)
@given(some.tuples(some.integers(8, 20), some.integers(8, 20)), some.tuples(some.integers(1, 3), some.integers(1, 3)))
def test_weights_are_a_partition_of_unity(sixteenths, tiles):
    tiling = plan_tiling((16 * sixteenths[0], 16 * sixteenths[1]), tiles)
    count = tiling.count
    one_tile_each = torch.zeros(count, count, *tiling.tile_shape)
    for index in range(count):
        one_tile_each[index, index] = 1.0
    (weights,) = Stitcher(tiling)(one_tile_each)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=1), torch.ones_like(weights[:, 0]))


def test_tiles_that_disagree_leave_no_step(tiling):
    tiles = torch.arange(float(tiling.count)).reshape(-1, 1, 1, 1).expand(-1, 1, *tiling.tile_shape)
    (whole,) = Stitcher(tiling)(tiles)
    apart = {2: 1, 3: len(tiling.rows.starts)}
    for axis, cut in ((2, tiling.rows), (3, tiling.columns)):
        if len(cut.starts) > 1:
            assert whole.diff(dim=axis).abs().max() <= apart[axis] / min(cut.overlaps) + 1e-5


class Rebuilds(torch.nn.Module):
    """A core that gives back what it sees, or one tone."""

    def __init__(self, tone=None):
        super().__init__()
        self.tone = tone

    def forward(self, seen):
        return (seen + 1.0) * (128.0 / 255.0) if self.tone is None else seen * 0.0 + self.tone


GEOMETRY = Geometry((150, 230, 3), (4, 6, 224, 140), (128, 208), (2, 3))


def frame_of(geometry, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (12, 18, geometry.frame_shape[2]), np.uint8)
    frame = np.kron(small, np.ones((24, 24, 1), np.uint8))
    return np.ascontiguousarray(frame[: geometry.frame_shape[0], : geometry.frame_shape[1]])


def run(model, frame, outputs=None):
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(content).run(outputs, {"frame": frame[None]})


def test_an_identity_core_gives_the_picture_back(tmp_path):
    # Nothing is scaled, so that every value is a whole code.
    geometry = Geometry(GEOMETRY.frame_shape, (4, 6, 208, 128), (128, 208), (2, 3))
    model = join(export_parts(geometry, Core(Rebuilds(), "picture"), ["l2", "ssim", "msgms"], box=5))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    frame = frame_of(geometry)
    maps, picture = run(with_reconstruction(path), frame)
    assert maps.max() < 1e-4
    np.testing.assert_array_equal(picture[0], reduce_frame(frame, geometry))


def test_a_core_of_one_tone_shows_no_seam():
    errors = ["l2", "ssim", "msgms"]
    whole = Geometry(GEOMETRY.frame_shape, GEOMETRY.roi_xywh_px, GEOMETRY.map_shape)
    frame = frame_of(GEOMETRY)
    tiled, untiled = (
        run(join(export_parts(geometry, Core(Rebuilds(0.4), "picture"), errors, box=5)), frame)[0]
        for geometry in (GEOMETRY, whole)
    )
    assert untiled.std() > 0
    np.testing.assert_allclose(tiled, untiled, rtol=1e-4, atol=1e-6)


def network_of(kind, channels):
    torch.manual_seed(1)
    net = kind(channels, width=16)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize("errors", [["l2", "msgms"], ["ssim", "learned"]])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_exported_graph_gives_what_torch_gives(errors, channels):
    geometry = Geometry((256, 416, channels), (0, 0, 416, 256), (128, 208), (2, 3))
    core = Core(network_of(Autoencoder, channels), "edges", network_of(DefectHead, channels))
    model = join(export_parts(geometry, core, errors, box=1))
    check_structure(model, int8=False)
    shapes = shapes_of(model)
    assert shapes["core/reconstruction"][0] == (6, channels, 80, 80)
    assert shapes["stitch/reconstruction"][0] == (1, channels, 128, 208)
    frame = frame_of(geometry)
    (found,) = run(model, frame)
    graph = InspectionGraph(Front(geometry, "edges"), CoreGraph(core, errors), Tail(errors, channels, box=1)).eval()
    with torch.no_grad():
        expected = graph(torch.from_numpy(frame)[None]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    pictures = np.rint(reduce_frame(frame, geometry)).astype(np.uint8)
    twice = list(error_maps_of(core, errors, np.stack([pictures] * 2), geometry.tiling))
    assert len(twice) == 2
    for maps in twice:
        # The cache rounds to whole codes, the graph does not.
        assert np.abs(maps - expected[0]).mean() < 0.02 * expected.mean()
    (untiled,) = error_maps_of(core, errors, pictures[None])
    assert np.abs(untiled - maps).max() > 1e-3


def test_what_the_core_sees_is_made_before_the_cut():
    front = Front(GEOMETRY, "edges")
    tiles = GEOMETRY.tiling
    with torch.no_grad():
        _, seen = front(torch.from_numpy(frame_of(GEOMETRY))[None])
    model = join(export_parts(GEOMETRY, Core(network_of(Autoencoder, 3), "edges"), ["l2"], box=1))
    model.graph.output.extend(value for value in model.graph.value_info if value.name == "cut/seen_tiles")
    (cut,) = run(model, frame_of(GEOMETRY), ["cut/seen_tiles"])
    for index, (down, across) in enumerate(tiles.windows):
        row, column = divmod(index, 3)
        np.testing.assert_allclose(cut[column * 2 + row], seen[0, :, down, across].numpy(), atol=1e-4)
