"""The rules that the fakes enforce, each with where its vendor states it, and the error for broken ones."""

from __future__ import annotations

DRIVER = "CUDA Driver API: "
TEGRA = "CUDA for Tegra: "
CORE = "TensorRT Python API, Core: "
HEADER = "TensorRT 10 NvInfer.h, ILayer::"
BINDINGS = "NVIDIA/TensorRT python/src/"
GUIDE = "TensorRT developer guide: "
MIGRATION = "TensorRT migration guide 10.x to 11.x: "
PYCUDA = "PyCUDA 2026.1: "
STRICT = "stricter than the library: "

RULES = {
    "initialised": DRIVER + "cuInit must be called before any other function, else CUDA_ERROR_NOT_INITIALIZED",
    "current-context": DRIVER + "CUDA_ERROR_INVALID_CONTEXT: there is most frequently no context bound to the thread",
    "context-destroyed": DRIVER + "CUDA_ERROR_CONTEXT_IS_DESTROYED: the current context was destroyed",
    "context-last": DRIVER + "cuDevicePrimaryCtxRelease destroys the context with the last reference; cuMemFree first",
    "primary-release": DRIVER + "cuDevicePrimaryCtxRelease fails when the primary context was not retained",
    "device-pointer": DRIVER + "cuMemHostGetDevicePointer: kernels take the device pointer of host memory",
    "bounds": DRIVER + "cuMemcpyHtoDAsync: CUDA_ERROR_INVALID_VALUE outside an allocation",
    "use-after-free": DRIVER + "cuMemFree: the pointer must have been returned by cuMemAlloc and not be freed",
    "free-twice": DRIVER + "cuMemFree: CUDA_ERROR_INVALID_VALUE for what is not allocated",
    "free-in-flight": DRIVER
    + "cuMemFree, cuMemHostUnregister: accesses must have completed (strict: no implicit sync)",
    "out-of-memory": DRIVER + "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY",
    "register-page": DRIVER + "cuMemHostRegister locks whole pages (4.0: the address must be page-aligned)",
    "register-mapped": DRIVER + "cuMemHostRegister: an existing host memory range",
    "register-read-only": DRIVER + "CU_MEMHOSTREGISTER_READ_ONLY: memory that the CPU maps read-only needs the flag",
    "register-twice": DRIVER + "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
    "register-supported": DRIVER + "cuMemHostRegister needs CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED",
    "unregister-unknown": DRIVER + "cuMemHostUnregister: the base address given to cuMemHostRegister",
    "device-map": DRIVER + "cuMemHostGetDevicePointer fails without the DEVICEMAP flag",
    "managed-flags": DRIVER + "cuMemAllocManaged: flags are CU_MEM_ATTACH_GLOBAL or _HOST",
    "memset-alignment": DRIVER + "cuMemsetD32Async: dstDevice must be 4-byte aligned",
    "handle": DRIVER + "CUDA_ERROR_INVALID_HANDLE: a stream, event or graph that does not exist (any more)",
    "event-timing": DRIVER + "cuEventElapsedTime: CUDA_ERROR_INVALID_HANDLE with CU_EVENT_DISABLE_TIMING",
    "event-captured": DRIVER + "CUDA_ERROR_CAPTURED_EVENT: not permitted on an event last recorded in a capture",
    "stream-race": "CUDA C++ programming guide, streams: commands of different streams run in any order",
    "capture-sync": DRIVER + "stream capture: synchronising or querying a capturing stream is prohibited",
    "capture-alloc": DRIVER + "cuThreadExchangeStreamCaptureMode: unsafe calls are prohibited unless RELAXED",
    "capture-default-stream": DRIVER + "cuStreamBeginCapture cannot be initiated on CU_STREAM_LEGACY",
    "capture-implicit": DRIVER + "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT: a dependency on the legacy stream",
    "capture-thread": DRIVER + "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD: ended by the thread that began it",
    "capture-unjoined": DRIVER + "CUDA_ERROR_STREAM_CAPTURE_UNJOINED: a fork that was not joined",
    "capture-isolation": DRIVER + "CUDA_ERROR_STREAM_CAPTURE_ISOLATION: waits on an event from outside",
    "capture-not-begun": DRIVER + "CUDA_ERROR_ILLEGAL_STATE: cuStreamEndCapture without a begin, or begin twice",
    "capture-pageable": STRICT + "a copy of pageable memory in a graph reads the address at every launch",
    "graph-address": "CUDA C++ programming guide, graphs: nodes keep the addresses of the capture",
    "graph-owner": GUIDE + "CUDA graphs: the execution context must live as long as the graph",
    "leak": DRIVER + "each retain, alloc, register and create has its counterpart",
    "pycuda-autoinit": "the project's design: the primary context, never pycuda.autoinit",
    "pycuda-register": "inducer/pycuda#459: register_host_memory crashes, or raises SystemError, since 2024.1",
    "pycuda-free-twice": PYCUDA + "device_allocation::free raises CUDA_ERROR_INVALID_HANDLE the second time",
    "pycuda-thread": PYCUDA + "scoped_context_activation: objects die in the thread of their context",
    "trt-absent-name": MIGRATION + "removed APIs; and the bindings of each version",
    "trt-base-init": CORE + "ILogger, IProgressMonitor: explicitly instantiate the base class in __init__",
    "trt-unsupported-operator": "onnx-tensorrt operators.md: operators without a row need a plugin",
    "trt-uint8": "onnx-tensorrt operators.md: UINT8 is read by Cast only",
    "trt-opset": "TensorRT ONNX opset guide: minimum and maximum opset",
    "trt-uint8-zero-point": "onnx-tensorrt: `QuantizeLinear/DequantizeLinear with UINT8 zero_point ... INT8 instead`",
    "trt-zero-point": GUIDE + "quantized types: the scheme is symmetric, zero points are 0",
    "trt-strong-flags": CORE + "BuilderFlag: precision flags are not allowed in strongly typed networks",
    "trt-strong-layer": CORE + "STRONGLY_TYPED: setting layer precision and layer output types is not allowed",
    "trt-int8-flag": "TensorRT 10 `network.cpp::validate`: int8 is not configured in the builder",
    "trt-strong-calibrator": STRICT + "a strongly typed network would be built and its calibrator never called",
    "trt-one-constraint": HEADER + "setPrecision: set exactly one of OBEY_ and PREFER_PRECISION_CONSTRAINTS",
    "trt-obey": CORE
    + "BuilderFlag.OBEY_PRECISION_CONSTRAINTS: the build fails otherwise; PREFER_ falls back, warned of",
    "trt-precision-type": "NVIDIA/TensorRT issues 2076, 3177: `cannot use precision Float with weights of type Int32`",
    "trt-shape-output-type": HEADER + "setOutputType: for shape operations ignored except for issuing an error message",
    "trt-input-index": HEADER + "setInput: the index must be less than getNbInputs(), except for a few types of layers",
    "trt-foreign-tensor": STRICT + "a tensor of another network: the library keeps a pointer that dies with that",
    "trt-cycle": STRICT + "a layer that reads what it makes",
    "trt-rename": "TensorRT for RTX 1.7 said it: `Failed attempt to rename a layer .. as the new name is already in use`",
    "trt-names": "pytorch/TensorRT#1377, NVIDIA/TensorRT#447: `Repeated layer name`, `Repeated tensor name`",
    "trt-elementwise": CORE + "IElementWiseLayer: as many dimensions, each the same or 1; both of one type",
    "trt-invalid-layer": "nvinfer1::INetworkDefinition: a tensor of an invalid layer has -1 dimensions, no engine is built",
    "trt-weights-count": "nvinfer1::Weights: count; `kernel weights has count X but Y was expected`",
    "trt-weights-contiguous": BINDINGS
    + "lambdas of Weights: `Could not convert non-contiguous NumPy array to Weights`",
    "trt-no-scales": GUIDE + "error messages: `Calibration failure occurred with no scaling factors detected`",
    "trt-missing-scale": GUIDE + "error messages: `Missing scale and zero-point for tensor`; the layer is not INT8",
    "trt-explicit-calibrator": GUIDE
    + "explicit quantization: `Calibrator won't be used in explicit quantization mode`",
    "trt-calibration-device": CORE + "IInt8Calibrator.get_batch: a list of device memory pointers",
    "trt-calibration-count": BINDINGS
    + "infer/pyInt8.cpp: getBatch copies as many pointers as there are inputs, unchecked",
    "trt-calibration-batch": CORE + "IInt8Calibrator.get_batch: the batch size must match that of get_batch_size",
    "trt-calibrator-raises": BINDINGS + "infer/pyInt8.cpp: the methods are noexcept, what they raise ends the process",
    "trt-dynamic-shape": GUIDE + "dynamic shapes: an optimization profile is required",
    "trt-workspace": GUIDE + "WORKSPACE: too little, and no implementation of a layer is found",
    "trt-cancel": CORE + "IProgressMonitor.step_complete: False stops the build",
    "trt-timing-cache": CORE + "IBuilderConfig.set_timing_cache: False on a mismatch unless it is ignored",
    "trt-damaged-plan": CORE + "Runtime.deserialize_cuda_engine: None if it could not be deserialized",
    "trt-plan-version": GUIDE + "engines are not portable across TensorRT versions",
    "trt-plan-device": GUIDE + "engines are not portable across GPU architectures",
    "trt-host-code": CORE + "Runtime.engine_host_code_allowed: default False",
    "trt-context": STRICT + "the runtime API would silently take the primary context, PyCUDA's objects would not",
    "trt-tensor-name": CORE + "set_tensor_address: True on success, False for an unknown tensor",
    "trt-address-alignment": "nvinfer1::IExecutionContext::setTensorAddress: at least 256-byte aligned",
    "trt-address-device": "nvinfer1::IExecutionContext::setTensorAddress: the pointer is accessed by the device",
    "trt-address-size": "nvinfer1::IExecutionContext::setTensorAddress: the buffer holds the whole tensor",
    "trt-address-missing": "nvinfer1::IExecutionContext::enqueueV3: every tensor has a non-null address",
    "trt-scratch-missing": CORE + "USER_MANAGED: the user supplies custom allocation to the execution context",
    "trt-scratch-size": CORE + "set_device_memory: at least as large as the engine's device_memory_size_v2",
    "trt-scratch-alignment": CORE + "set_device_memory: 256-byte aligned device memory",
    "trt-one-at-a-time": "nvinfer1::IExecutionContext: enqueueV3 is not concurrent within one context",
    "trt-shared-scratch": CORE + "set_device_memory: not for a parallel execution context",
    "trt-default-stream": CORE + "execute_async_v3: the default stream costs cudaDeviceSynchronize; it is warned of",
    "trt-run-before-capture": GUIDE + "CUDA graphs: call enqueueV3 once before the capture",
    "trt-in-flight": CORE + "execute_async_v3: releasing what it uses before synchronisation is undefined",
    "trt-after-context": GUIDE + "object lifetimes: engine and context are destroyed before the CUDA context",
}


class BrokenRuleError(Exception):
    """What the vendor calls undefined behaviour: the real library would go on and corrupt something.

    It is raised out of every surface, even those that only return codes, and noted on the machine.
    """

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail} ({RULES[rule]})")
        self.rule = rule
