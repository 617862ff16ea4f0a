import threading

import pytest

from engines.parallel import map_ahead


def test_results_come_in_order():
    assert list(map_ahead(lambda number: number * number, range(1000))) == [number * number for number in range(1000)]


def test_a_slow_reader_is_not_overrun():
    started = []
    results = map_ahead(started.append, range(10_000))
    for _ in range(5):
        next(results)
    assert len(started) < 1000
    results.close()


def test_a_reader_that_stops_waits_for_nothing_but_what_runs():
    release, started = threading.Event(), []

    def work(number):
        started.append(number)
        if number:
            release.wait(10)

    results = map_ahead(work, range(100_000))
    next(results)
    release.set()
    results.close()
    assert len(started) < 1000


def test_an_error_reaches_the_reader_at_its_place():
    results = map_ahead(lambda number: 1 / (3 - number), range(10))
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_one_thread_keeps_no_more_than_five_results_ahead():
    started, threads = [], set()

    def work(number):
        started.append(number)
        threads.add(threading.get_ident())

    results = map_ahead(work, range(100), threads=1)
    next(results)
    results.close()
    assert len(started) <= 6
    assert len(threads) == 1
