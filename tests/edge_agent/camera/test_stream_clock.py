"""Which frames of a stream are old ones that were held back."""

from edge_agent.camera.rtsp import StreamClock

MS = 1_000_000
INTERVAL = 50 * MS


def test_frames_that_come_at_once_are_as_old_as_the_stream_says():
    clock = StreamClock()
    now = 10_000 * MS
    for number in range(100):
        assert clock.arrival_of(number * INTERVAL, now + number * INTERVAL) == now + number * INTERVAL
    # A stall of a second, of which 20 frames were held.
    for number in range(100, 120):
        assert clock.arrival_of(number * INTERVAL, now + 120 * INTERVAL) == now + number * INTERVAL


def test_at_the_start_what_is_held_comes_faster_than_it_was_taken():
    clock, now = StreamClock(), 0
    for number in range(20):
        now += 5 * MS
        clock.arrival_of(number * INTERVAL, now)
        assert not clock.is_at_pace
    for number in range(20, 25):
        assert not clock.is_at_pace
        now += INTERVAL
        clock.arrival_of(number * INTERVAL, now)
    assert clock.is_at_pace


def test_a_stream_without_times_never_comes_at_pace():
    clock = StreamClock()
    for number in range(100):
        clock.arrival_of(0, number * INTERVAL)
        assert not clock.is_at_pace


def test_clocks_that_drift_apart_do_not_make_frames_old():
    clock, slower = StreamClock(), 1.0001
    for number in range(100_000):
        now = round(number * INTERVAL * slower)
        late = now - clock.arrival_of(number * INTERVAL, now)
        assert late < 10 * MS
