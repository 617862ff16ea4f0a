import os
import threading
import time

import pytest

from engines.energy import Energy, EnergyMeter

NEVER = 3600.0


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def package(root, number, energy_uj, *, name=None, most_uj=1_000_000):
    folder = root / "class/powercap" / f"intel-rapl:{number}"
    write(folder / "name", name or f"package-{number}")
    write(folder / "max_energy_range_uj", most_uj)
    write(folder / "energy_uj", energy_uj)
    return folder / "energy_uj"


def rail(root, chip, channel, label, millivolts, milliamperes):
    folder = root / "class/hwmon" / f"hwmon{chip}"
    write(folder / "name", "ina3221")
    write(folder / f"in{channel}_label", label)
    write(folder / f"in{channel}_input", millivolts)
    write(folder / f"curr{channel}_input", milliamperes)
    return folder / f"curr{channel}_input"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def meter(tmp_path, clock):
    return EnergyMeter(sysfs=tmp_path, clock=clock, period_s=NEVER)


def test_packages_are_added_and_nothing_is_counted_twice(tmp_path, meter):
    first, second = package(tmp_path, 0, 500), package(tmp_path, 1, 0)
    inner = [
        package(tmp_path, "0:0", 0, name="core"),
        package(tmp_path, "0:1", 0, name="dram"),
        package(tmp_path, 2, 0, name="psys"),
    ]
    with meter:
        first.write_text("200500")
        second.write_text("300000")
        for counter in inner:
            counter.write_text("900000")
    assert meter.energy.joules == pytest.approx(0.5)
    assert "2 processor packages" in meter.energy.note


def test_a_counter_that_starts_again_goes_on(tmp_path, meter):
    counter = package(tmp_path, 0, 900_000, most_uj=1_000_000)
    meter.start()
    for value in (990_000, 40_000, 900_000, 20_000):
        counter.write_text(str(value))
        meter.sample()
    assert meter.stop().joules == pytest.approx(1.12)


def test_the_rail_of_the_whole_module_stands_for_all(tmp_path, meter, clock):
    current = rail(tmp_path, 3, 1, "VDD_IN", 5000, 1000)
    rail(tmp_path, 3, 2, "VDD_CPU_GPU_CV", 5000, 600)
    rail(tmp_path, 3, 3, "VDD_SOC", 5000, 300)
    meter.start()
    clock.now_s += 2
    meter.sample()
    current.write_text("3000")
    clock.now_s += 1
    energy = meter.stop()
    assert energy.joules == pytest.approx(2 * 5 + (5 + 15) / 2)
    assert "(VDD_IN)" in energy.note


def test_without_such_a_rail_those_that_feed_each_other_are_not_added(tmp_path, meter, clock):
    rail(tmp_path, 2, 1, "VDD_GPU_SOC", 20_000, 100)
    rail(tmp_path, 2, 2, "VDD_CPU_CV", 20_000, 50)
    rail(tmp_path, 2, 3, "VIN_SYS_5V0", 5000, 400)
    rail(tmp_path, 3, 1, "NC", 5000, 9999)
    rail(tmp_path, 3, 2, "VDDQ_VDD2_1V8AO", 5000, 9999)
    write(tmp_path / "class/hwmon/hwmon0/name", "tmp451")
    meter.start()
    clock.now_s += 10
    energy = meter.stop()
    assert energy.joules == pytest.approx(10 * (2 + 1 + 2))
    assert "(VDD_CPU_CV, VDD_GPU_SOC, VIN_SYS_5V0)" in energy.note


def test_a_machine_without_sensors_gives_no_figure_but_a_reason(meter):
    with meter:
        pass
    assert meter.energy.joules is None
    assert "neither RAPL counters nor an INA3221" in meter.energy.note


def test_counters_that_only_root_may_read_say_how_to_allow_it(tmp_path, meter, monkeypatch):
    counter = package(tmp_path, 0, 5)
    if os.geteuid() == 0:
        # Root reads whatever the mode says; the kernel's answer to others is given in its place.
        plain = os.open

        def refuse(path, *more, **named):
            if path == counter:
                raise PermissionError(13, "Permission denied", str(path))
            return plain(path, *more, **named)

        monkeypatch.setattr("engines.sysfs.os.open", refuse)
    else:
        counter.chmod(0)
    with meter:
        pass
    assert meter.energy.joules is None
    assert "only root may read" in meter.energy.note
    assert "sudo chmod a+r" in meter.energy.note


def test_a_sensor_that_stops_answering_gives_no_half_figure(tmp_path, meter):
    counter = package(tmp_path, 0, 5)
    meter.start()
    counter.unlink()
    energy = meter.stop()
    assert energy.joules is None
    assert "stopped answering" in energy.note


@pytest.mark.parametrize("text", ["", "unknown"])
def test_a_reading_that_is_no_number_is_no_figure(tmp_path, meter, text):
    package(tmp_path, 0, 5).with_name("max_energy_range_uj").write_text(text)
    assert meter.stop() == Energy(None, "Not measured: the meter was not started.")
    with meter:
        pass
    assert meter.energy.joules is None
    assert "cannot be read" in meter.energy.note


def test_a_thread_reads_between_start_and_stop_and_then_ends(tmp_path):
    counter = package(tmp_path, 0, 0, most_uj=1_000_000)
    seen = threading.Event()
    readings = 0

    def clock():
        nonlocal readings
        readings += 1
        # Without the readings in between, one turn of the counter would be lost.
        counter.write_text(str(readings * 400_000 % 1_000_000))
        if readings >= 6:
            seen.set()
        return time.monotonic()

    with EnergyMeter(sysfs=tmp_path, clock=clock, period_s=0.001) as meter:
        assert seen.wait(10)
    assert meter.energy.joules == pytest.approx((readings - 1) * 0.4)
    assert "energy" not in {thread.name for thread in threading.enumerate()}
