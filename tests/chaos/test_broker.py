"""The broker dies and comes back, or refuses."""

import pytest

_FAILED_ATTEMPTS = 6


@pytest.mark.parametrize("persistent", [False, True], ids=["no-persistence", "persistence"])
def test_kill_9_of_the_broker_mid_stream(make_line, persistent):
    line = make_line(persistent=persistent).start()
    assert line.next_verdict()
    line.plc.send()
    line.restart_broker()
    line.recovers(after="broker restarted")
    line.check()


def test_a_broker_that_was_away_for_long_is_found_soon(line):
    line.plc.send()
    line.broker.kill()
    line.until(lambda: line.proxy.refused >= _FAILED_ATTEMPTS, "attempts")
    assert line.plc.ask().action == "reject"
    line.broker.start()
    line.recovers(after="broker away for long")
    line.check()


def test_a_connack_that_refuses_is_no_connection(line, tmp_path):
    folder = tmp_path / "strict"
    folder.mkdir()
    strict = type(line.broker)(folder, user=("somebody", "else"))
    strict.start()
    try:
        line.plc.send()
        line.proxy.upstream = strict.port
        line.proxy.reset()
        line.until(lambda: line.station.log.read_text().count("refused client") >= 1, "the refusal")
        line.converges("offline", after="CONNACK refused")
        assert line.plc.ask().action == "reject"
        line.proxy.upstream = line.broker.port
        line.recovers(after="CONNACK accepted again")
        line.check()
    finally:
        strict.kill()
