"""What the machine's sensors say, from a sysfs made of files."""

import itertools
import os
import threading

import pytest

from edge_agent.sensors import OLDEST_S, Readings, SensorWatch, read_sensors


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def zone(root, number, name, millidegrees):
    write(root / f"class/thermal/thermal_zone{number}/type", name)
    write(root / f"class/thermal/thermal_zone{number}/temp", millidegrees)


def cooler(root, number, name, state):
    write(root / f"class/thermal/cooling_device{number}/type", name)
    write(root / f"class/thermal/cooling_device{number}/cur_state", state)


def rail(root, channel, label, millivolts, milliamperes):
    folder = root / "class/hwmon/hwmon1"
    write(folder / "name", "ina3221")
    write(folder / f"in{channel}_label", label)
    write(folder / f"in{channel}_input", millivolts)
    write(folder / f"curr{channel}_input", milliamperes)


def test_a_machine_without_sensors_tells_nothing(tmp_path):
    assert read_sensors(tmp_path) == Readings({}, {}, {}, {})


def test_zones_are_told_in_degrees_and_of_one_name_the_hottest(tmp_path):
    zone(tmp_path, 0, "cpu-thermal", 51_687)
    zone(tmp_path, 1, "acpitz", -5_000)
    zone(tmp_path, 2, "acpitz", 27_800)
    zone(tmp_path, 10, "acpitz", 20_000)
    assert read_sensors(tmp_path).temperatures_c == {"cpu-thermal": 51.687, "acpitz": 27.8}


@pytest.mark.parametrize("said", ["-256000", "", "no number", "-32768000000"])
def test_what_is_no_temperature_is_left_out(tmp_path, said):
    zone(tmp_path, 0, "cv0-thermal", said)
    zone(tmp_path, 1, "tj-thermal", 43_500)
    assert read_sensors(tmp_path).temperatures_c == {"tj-thermal": 43.5}


def test_a_zone_that_is_switched_off_answers_eagain_and_is_left_out(tmp_path):
    zone(tmp_path, 0, "cv0-thermal", 0)
    zone(tmp_path, 1, "tj-thermal", 43_500)
    off = tmp_path / "class/thermal/thermal_zone0/temp"
    off.unlink()
    os.mkfifo(off)
    # A pipe with a writer and no data answers a reader that does not wait as the zone does.
    reader = os.open(off, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(off, os.O_WRONLY)
    try:
        assert read_sensors(tmp_path).temperatures_c == {"tj-thermal": 43.5}
    finally:
        os.close(reader)
        os.close(writer)


def test_throttled_is_what_heat_slows_down_and_no_fan(tmp_path):
    for number, (name, state) in enumerate(
        {
            "pwm-fan": 3,
            "gpu-fan": 2,
            "iwlwifi_1": 1,
            "cpu-throttle-alert": 0,
            "gpu-throttle-alert": 1,
            "hot-surface-alert": 0,
            "cpufreq-cpu0": 0,
            "devfreq-17000000.gpu": 12,
            # Idle, powerclamp says -1.
            "intel_cpu_clamp": -1,
        }.items()
    ):
        cooler(tmp_path, number, name, state)
    cooler(tmp_path, 20, "Processor", 0)
    cooler(tmp_path, 21, "Processor", 2)
    cooler(tmp_path, 22, "Processor", 0)
    assert read_sensors(tmp_path).throttled == {
        "cpu-throttle-alert": False,
        "gpu-throttle-alert": True,
        "hot-surface-alert": False,
        "cpufreq-cpu0": False,
        "devfreq-17000000.gpu": True,
        "intel_cpu_clamp": False,
        "Processor": True,
    }


def test_power_of_each_rail_and_slowdowns_for_the_supply(tmp_path):
    rail(tmp_path, 1, "VDD_GPU_SOC", 12_000, 500)
    rail(tmp_path, 2, "VDD_CPU_CV", 12_000, "no number")
    rail(tmp_path, 3, "VIN_SYS_5V0", 5_000, 800)
    for number, count in (1, 0), (2, "?"), (3, 37):
        write(tmp_path / f"class/hwmon/hwmon3/oc{number}_event_cnt", count)
    readings = read_sensors(tmp_path)
    assert readings.power_w == pytest.approx({"VDD_GPU_SOC": 6.0, "VIN_SYS_5V0": 4.0})
    assert readings.overcurrent_events == {"oc1": 0, "oc3": 37}


def test_a_sensor_that_hangs_holds_up_nobody_and_its_old_reading_is_forgotten():
    now, reads, hangs, goes_on = [100.0], itertools.count(), threading.Event(), threading.Event()

    def read():
        if next(reads) == 2:
            hangs.set()
            goes_on.wait(20)
        return Readings({"tj-thermal": 40.0})

    watch = SensorWatch(read, clock=lambda: now[0], period_s=0.001)
    assert watch.latest() == Readings()
    watch.start()
    try:
        assert hangs.wait(10)
        now[0] += OLDEST_S
        assert watch.latest().temperatures_c == {"tj-thermal": 40.0}
        now[0] += 0.1
        assert watch.latest() == Readings()
    finally:
        watch.stop()
        goes_on.set()
