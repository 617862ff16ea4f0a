"""A short soak; `make chaos` has the long one."""

from chaos.usage import usage_of

_PARTS, _WARM_PARTS = 300, 50
_MOST_GROWTH_MB = 4.0


def test_memory_threads_and_descriptors_stay(line):
    usage = []
    for number in range(_PARTS):
        line.plc.ask()
        if number >= _WARM_PARTS and number % _WARM_PARTS == 0:
            usage.append((usage_of(line.pid), usage_of(line.camera_pid())))
    line.check()
    for first, last in zip(usage[0], usage[-1], strict=True):
        assert last.memory_mb - first.memory_mb < _MOST_GROWTH_MB
        assert last.threads <= first.threads
        assert last.descriptors <= first.descriptors + 1
