"""A camera that hangs, goes or dies while a station runs free."""

import time

import pytest
from running_station import RunningStation, TestPlc

FAULT_AT = 20


@pytest.mark.parametrize("fault", ["hang", "lost", "crash"])
def test_a_loss_is_known_within_2_s_and_the_station_goes_on_by_itself(
    tmp_path, fitted_recipe, mosquitto, awake_s, fault
):
    uri = f"synthetic://plate?size=96x80&live=1&fps=20&fault={fault}&fault_at={FAULT_AT}"
    station = RunningStation(tmp_path, fitted_recipe, mosquitto.port, uri, camera={"mode": "free_run"}).start()
    plc = TestPlc(mosquitto.port, station.topics)
    try:
        first = plc.verdict()
        last_s = awake_s()
        while not any("camera_lost" in state["reasons"] for state in plc.states):
            if not plc.verdicts.empty():
                plc.verdict()
                last_s = awake_s()
            assert awake_s() - last_s < 2
            time.sleep(0.005)
        plc.wait_for_state("executing")
        later = plc.verdict()
        if later["reasons"] == ["frozen_frame"]:
            # The camera in software begins again at the count of frames taken: where it lost some, it shows one twice.
            later = plc.verdict()
        assert later["frame_seq"] > first["frame_seq"]
        assert later["reasons"] == []
    finally:
        plc.stop()
        station.kill()
