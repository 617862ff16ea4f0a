"""What lies between agent and broker, and a consumer that goes away."""

_PARTS = 4


def test_a_connection_that_is_reset(line):
    for _ in range(3):
        line.plc.send()
        line.proxy.reset()
        line.recovers(after="reset")
    line.check()


def test_a_black_hole_is_noticed_and_left(line):
    line.plc.send()
    line.proxy.hold("to_agent", "to_broker")
    assert line.plc.ask().action == "reject"
    # Mosquitto 2.0 looks for silent clients every 6 s only: until then the missing sign of life tells the PLC.
    line.wait_for_state("offline")
    line.proxy.let_through()
    line.recovers(after="black hole gone")
    line.check()


def test_two_seconds_of_delay(make_line):
    line = make_line(timeout_ms=1000).start()
    line.proxy.delay_s = 2.0
    late = [line.plc.ask() for _ in range(2)]
    assert {result.action for result in late} == {"reject"}
    # With twice two seconds of way and a keepalive of three a connection hardly lives; what waits comes afterwards.
    line.proxy.let_through()
    assert line.next_verdict()
    line.check()


def test_slices_of_one_byte(line):
    line.proxy.slice_bytes = 1
    assert all(line.next_verdict() for _ in range(_PARTS))
    line.check()


def test_the_consumer_is_away_and_back(line):
    line.plc.acknowledges = False
    sent = [line.plc.send() for _ in range(_PARTS)]
    line.until(lambda: all(line.plc.verdicts_of(trigger) for trigger in sent), "verdicts")
    line.plc.disconnect()
    line.plc.acknowledges = True
    line.plc.connect()
    line.until(lambda: all(len(line.plc.verdicts_of(trigger)) > 1 for trigger in sent), "verdicts once more")
    assert line.next_verdict()
    line.check()
