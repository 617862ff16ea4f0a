"""The fake torch2trt: which calls become which layers, what is silently lost, and calibration from its datasets."""

import importlib
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fakes.install import installed_fakes
from fakes.rules import BrokenRuleError
from fakes.tensorrt_versions import VERSIONS
from fakes.test_tensorrt_build import heard

OLD = [version for version in VERSIONS if version.startswith("10.")]
SHAPE = (1, 2, 32, 32)


@pytest.fixture(params=OLD)
def workshop(request):
    with installed_fakes(tensorrt=request.param, torch2trt=True) as machine, torch.no_grad():
        yield Workshop(machine)


class Workshop:
    """Converts modules of one input into networks of their own."""

    def __init__(self, machine):
        import tensorrt
        import torch2trt

        self.machine, self.trt, self.torch2trt = machine, tensorrt, torch2trt
        machine.init()
        machine.push(machine.retain_primary())
        self.logger = heard(tensorrt)
        self.builder = tensorrt.Builder(self.logger)
        self.config = self.builder.create_builder_config()

    def context(self, module, network=None):
        kwargs = {
            "module": module,
            "device_types": {},
            "default_device_type": self.trt.DeviceType.GPU,
            "gpu_fallback": True,
        }
        # An empty network is false, as it has a length.
        network = self.builder.create_network(0) if network is None else network
        return self.torch2trt.ConversionContext(network, torch2trt_kwargs=kwargs, builder_config=self.config)

    def convert(self, module, shape=SHAPE):
        """Return the network, and what torch returned inside the context."""
        network, given = self.builder.create_network(0), torch.zeros(shape)
        given._trt = network.add_input("seen", self.trt.float32, shape)
        with self.context(module.eval(), network):
            output = module(given)
        if hasattr(output, "_trt"):
            output._trt.name = "found"
            network.mark_output(output._trt)
        return network, output

    def compute(self, network, given):
        plan = self.builder.build_serialized_network(network, self.config)
        assert plan is not None, self.logger.messages
        engine = self.trt.Runtime(self.logger).deserialize_cuda_engine(plan)
        return engine._session.run(["found"], {"seen": given.numpy()})[0]


class PixelShuffle(nn.Module):
    """Pixel shuffle of two by what has converters."""

    def forward(self, x):
        n, c, h, w = x.shape
        return x.reshape(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, h * 2, w * 2)


class Small(nn.Module):
    """Every function that the networks of this project call and torch2trt converts."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(4, 8, 6, stride=2, padding=2, bias=False), nn.BatchNorm2d(8)
        self.pool, self.deep = nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1)
        self.last, self.shuffle = nn.Conv2d(8, 4, 3, padding=1), PixelShuffle()
        self.norm.running_mean += 0.1

    def forward(self, x):
        both = torch.cat([x, x.clamp(0.2, 0.7)], dim=1)
        level = functional.relu6(self.norm(self.stem(both * 2.0 - 1.0)))
        deep = functional.relu6(self.deep(self.pool(level)))
        risen = functional.interpolate(deep, scale_factor=2.0, mode="nearest")
        return torch.clamp(self.shuffle(self.last(functional.relu6(level + risen))), 0.0, 1.0)


def test_a_network_is_converted(workshop):
    torch.manual_seed(0)
    module, given = Small(), torch.rand(SHAPE)
    network, _ = workshop.convert(module)
    np.testing.assert_allclose(workshop.compute(network, given), module(given).numpy(), atol=1e-5)
    names = [layer.name for layer in network]
    # An activation's and a pooling's `type` is their own and hides that of the layer.
    assert {"stem:0:CONVOLUTION:GPU", "norm:0:SCALE:GPU", "pool:0:MAX:GPU"} <= set(names)
    assert [name for name in names if name.endswith(":RELU:GPU")]


def test_torch_is_as_before(workshop):
    before = functional.conv2d, torch.cat, torch.Tensor.__add__, torch.Tensor.size, torch.Tensor.shape
    with workshop.context(nn.Identity()):
        assert functional.conv2d is not before[0]
        assert torch.Tensor.__add__ is not before[2]
    assert before == (functional.conv2d, torch.cat, torch.Tensor.__add__, torch.Tensor.size, torch.Tensor.shape)
    with pytest.raises(ZeroDivisionError), workshop.context(nn.Identity()):
        raise ZeroDivisionError
    assert functional.conv2d is before[0]


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: functional.pixel_shuffle(functional.conv2d(x, torch.ones(4, 2, 1, 1)), 2),
        nn.ReLU6(),
        lambda x: x.mul(2.0),
        lambda x: x.add(2.0),
        lambda x: torch.reshape(x, (1, -1)),
        lambda x: torch.permute(x, (0, 1, 3, 2)),
    ],
)
def test_what_has_no_converter_has_no_tensor(workshop, function):
    _, output = workshop.convert(Calls(function))
    assert not hasattr(output, "_trt")


def test_known_unsupported_methods_are_printed(workshop, capsys):
    workshop.convert(nn.PixelShuffle(2), (1, 4, 8, 8))
    assert "known unsupported method torch.nn.functional.pixel_shuffle" in capsys.readouterr().out


def test_what_works_in_place_without_a_converter_is_lost_silently(workshop):
    network, output = workshop.convert(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU6(inplace=True)))
    assert output._trt.shape == SHAPE
    assert [layer.type.name for layer in network] == ["CONVOLUTION"]


def test_max_pool_needs_a_stride(workshop):
    with pytest.raises(TypeError, match="Dims"):
        workshop.convert(Calls(lambda x: functional.max_pool2d(x, 2)))
    _, output = workshop.convert(Calls(lambda x: functional.max_pool2d(x, 2, stride=2)))
    assert output._trt.shape == (1, 2, 16, 16)


def test_weights_in_channels_last_order_are_refused(workshop):
    module = nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="ascontiguousarray"):
        workshop.convert(module)


def test_a_layer_needs_a_running_module_of_the_conversion(workshop):
    network, given = workshop.builder.create_network(0), torch.zeros(SHAPE)
    given._trt = network.add_input("seen", workshop.trt.float32, SHAPE)
    with pytest.raises(IndexError), workshop.context(nn.Identity(), network):
        functional.relu(given)
    module = Calls(functional.relu)
    incomplete = workshop.torch2trt.ConversionContext(
        network, torch2trt_kwargs={"module": module}, builder_config=workshop.config
    )
    with pytest.raises(KeyError, match="device_types"), incomplete:
        module(given)


def test_a_program_can_add_converters(workshop):
    torch2trt, trt = workshop.torch2trt, workshop.trt

    @torch2trt.tensorrt_converter("torch.nn.functional.hardtanh")
    def convert(ctx):
        tensor = torch2trt.add_missing_trt_tensors(ctx.network, [torch2trt.get_arg(ctx, "input", 0, None)])[0]
        layer = ctx.network.add_activation(tensor, trt.ActivationType.CLIP)
        layer.alpha, layer.beta = torch2trt.get_arg(ctx, "min_val", 1, -1.0), torch2trt.get_arg(ctx, "max_val", 2, 1.0)
        ctx.method_return._trt = layer.get_output(0)

    given = torch.linspace(-3, 9, 2048).reshape(SHAPE)
    network, _ = workshop.convert(nn.ReLU6(inplace=True))
    np.testing.assert_allclose(workshop.compute(network, given), given.clamp(0, 6).numpy())


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1.0 - x / 4.0,
        lambda x: -torch.sqrt(torch.abs(x)),
        lambda x: x.transpose(2, 3)[:, 1:, ::2, 3],
        lambda x: torch.sigmoid(x).contiguous(),
        lambda x: functional.interpolate(x, size=(64, 64), mode="bilinear", align_corners=False),
        lambda x: 2.0 * x.view(x.size(0), -1, 16),
    ],
)
def test_functions_compute_the_same(workshop, function):
    torch.manual_seed(0)
    given = torch.rand(SHAPE)
    network, _ = workshop.convert(Calls(function))
    np.testing.assert_allclose(workshop.compute(network, given), function(given).numpy(), atol=1e-5)


def test_the_fake_says_what_it_lacks(workshop):
    with pytest.raises(NotImplementedError, match=r"the real torch2trt has one"):
        workshop.convert(Calls(lambda x: x.mean(dim=1)))
    with pytest.raises(NotImplementedError, match="ConversionContext"):
        workshop.torch2trt.torch2trt(nn.Identity(), [torch.zeros(SHAPE)])


def calibrated(workshop, dataset, **settings):
    torch.manual_seed(0)
    module = Small()
    network, _ = workshop.convert(module)
    workshop.config.set_flag(workshop.trt.BuilderFlag.INT8)
    calibrator = workshop.torch2trt.DatasetCalibrator(dataset, **settings)
    workshop.config.int8_calibrator = calibrator
    return module, network, calibrator


def test_a_dataset_of_cuda_tensors_calibrates(workshop, tmp_path):
    given = torch.rand(4, *SHAPE[1:])
    dataset = workshop.torch2trt.TensorBatchDataset((given.cuda(),))
    cache = tmp_path / "cache"
    module, network, calibrator = calibrated(workshop, dataset, cache_file=str(cache))
    # "10.3.0" is less than "5.1" as a text.
    assert calibrator.get_algorithm() == workshop.trt.CalibrationAlgoType.ENTROPY_CALIBRATION
    error = np.abs(workshop.compute(network, given[:1]) - module(given[:1]).numpy()).max()
    assert 1e-4 < error < 0.05
    assert calibrator.count == 4
    assert b"EntropyCalibration\n" in cache.read_bytes()


def test_tensors_of_the_cpu_are_no_batches(workshop):
    _, network, _ = calibrated(workshop, workshop.torch2trt.ListDataset([[torch.rand(SHAPE)]]))
    with pytest.raises(BrokenRuleError, match="host pointer"):
        workshop.compute(network, torch.rand(SHAPE))


def test_the_flattener_overlooks_uint8(workshop):
    frames = torch.zeros(2, 8, 8, 1, dtype=torch.uint8).cuda()
    dataset = workshop.torch2trt.TensorBatchDataset((frames,))
    assert workshop.torch2trt.DatasetCalibrator(dataset).get_batch(["frame"]) == []
    flattener = workshop.torch2trt.Flattener.from_value(dataset[0], condition=torch.is_tensor)
    calibrator = workshop.torch2trt.DatasetCalibrator(dataset, flattener=flattener)
    (first,), (second,) = calibrator.get_batch(["frame"]), calibrator.get_batch(["frame"])
    assert second - first == 64
    assert calibrator.get_batch(["frame"]) == []
    assert flattener.unflatten(flattener.flatten(dataset[0]))[0].shape == (1, 8, 8, 1)


def test_cuda_tensors_lie_on_the_device(workshop):
    memory, plain = workshop.machine.memory, torch.arange(8.0)
    used = memory.used_bytes
    tensor = plain.to("cuda")
    block = memory.by_device(tensor[2:].data_ptr())
    assert (tensor.is_cuda, tensor.device.type, tensor[2:].data_ptr() - block.device) == (True, "cuda", 8)
    np.testing.assert_array_equal(block.backing.view(np.float32), plain.numpy())
    assert not tensor.cpu().is_cuda
    assert memory.used_bytes == used + 32
    del tensor
    assert memory.used_bytes == used
    assert plain.to(torch.float64).dtype == torch.float64


def test_it_cannot_be_imported_on_11():
    with installed_fakes(tensorrt="11.4.0.106", torch2trt=True), pytest.raises(AttributeError, match="CalibrationAlgo"):
        importlib.import_module("torch2trt")
    assert "torch2trt" not in sys.modules


@pytest.mark.parametrize("settings", [{}, {"torch2trt": True, "tensorrt": None}])
def test_it_can_be_missing(settings):
    with installed_fakes(**settings), pytest.raises(ModuleNotFoundError):
        importlib.import_module("torch2trt")


def test_its_names_are_where_the_real_ones_are(workshop):
    assert callable(workshop.torch2trt.torch2trt)
    inner = importlib.import_module("torch2trt.torch2trt")
    assert inner.ConversionContext is workshop.torch2trt.ConversionContext
    assert importlib.import_module("torch2trt.dataset").ListDataset is workshop.torch2trt.ListDataset
