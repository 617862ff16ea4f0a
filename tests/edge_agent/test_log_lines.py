"""Log lines that a simple parser reads, one for each event, and not more of a kind than somebody can read."""

import io
import json
import logging
import os
import re
import select
import subprocess
import sys
import threading

import pytest
from log_reader import parse

from edge_agent.log_limit import ALWAYS, MOST, LogLimit
from edge_agent.log_lines import LineFormatter, is_journal
from edge_agent.log_writer import LogWriter


@pytest.fixture
def logger():
    """A logger with a stream of its own; returns (logger, handler, lines so far)."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(to_journal=False))
    logger = logging.getLogger("test_log_lines")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger, handler, lambda: stream.getvalue().splitlines()
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "two words",
        "a=b",
        'he said "no"',
        "back\\slash",
        "line\nbreak\r\n",
        "",
        " ",
        "ünïcode wörds",
        "\x1b[31mred",
        "C:\\path",
        '{"a": 1}',
    ],
)
def test_any_value_is_read_back_from_one_line(logger, value):
    log, _, lines = logger
    log.warning("fault=%s problem=%s count=%d share=%.2f", value, ValueError(value), 3, 0.5)
    (line,) = lines()
    pairs = parse(line)
    assert pairs["fault"] == value
    assert pairs["problem"] == value
    assert (pairs["count"], pairs["share"], pairs["level"], pairs["thread"]) == ("3", "0.50", "WARNING", "MainThread")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", pairs["time"])


@pytest.mark.parametrize("payload", [b"plain", b'{"meas_id": "1"}\n', None])
def test_a_representation_is_quoted_too(logger, payload):
    log, _, lines = logger
    log.warning("payload=%r", payload)
    assert parse(lines()[0])["payload"] == repr(payload)


def test_a_traceback_stays_on_its_line(logger):
    log, _, lines = logger
    try:
        json.loads("one\ntwo")
    except ValueError:
        log.exception("frame seq=%d could not be judged", 7)
    (line,) = lines()
    pairs = parse(line)
    assert pairs["seq"] == "7"
    assert pairs["traceback"].startswith("Traceback (most recent call last):\n")
    assert "\njson.decoder.JSONDecodeError: " in pairs["traceback"]


def test_a_message_without_arguments_stays_on_its_line(logger):
    log, _, lines = logger
    log.info("state=ready\nfake=1 100 %")
    assert [line.split(" ", 3)[3] for line in lines()] == ["state=ready\\nfake=1 100 %"]


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 3)],
)
def test_the_journal_gets_a_priority_and_no_time(level, priority):
    record = logging.LogRecord("x", level, "f", 1, "state=%s", ("ready",), None)
    line = LineFormatter(to_journal=True).format(record)
    assert line == f"<{priority}>level={logging.getLevelName(level)} thread=MainThread state=ready"


def test_the_journal_is_known_by_its_device_and_inode(tmp_path, monkeypatch):
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        status = os.fstat(stream.fileno())
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert not is_journal(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert is_journal(stream)
        assert not is_journal(other)
        assert not is_journal(io.StringIO())


@pytest.fixture
def limited(logger):
    log, handler, lines = logger
    limit = LogLimit()
    handler.addFilter(limit)
    # Its own lines go where everybody's go: through the filter, to the same stream.
    own = logging.getLogger("edge_agent.log_limit")
    own.addHandler(handler)
    own.propagate = False
    own.setLevel(logging.INFO)
    yield log, limit, lines
    own.removeHandler(handler)
    own.propagate = True


def test_of_one_kind_so_many_are_written_and_the_rest_is_counted(limited):
    log, limit, lines = limited
    for number in range(MOST + 30):
        log.info("verdict=PASS seq=%d", number)
        log.warning("other=%d", number % 10)
    written = [parse(line) for line in lines()]
    assert [pairs["seq"] for pairs in written if "seq" in pairs] == [str(n) for n in range(MOST)]
    assert len(written) == 2 * MOST
    limit.begin_minute()
    assert [(p["level"], p["left_out"], p["last"]) for p in map(parse, lines()[2 * MOST :])] == [
        ("INFO", "30", f"verdict=PASS seq={MOST + 29}"),
        ("WARNING", "30", "other=9"),
    ]
    log.info("verdict=PASS seq=%d", 99)
    limit.begin_minute()
    assert len(lines()) == 2 * MOST + 3, "another place in the program is another kind, and a full minute is said once"


def test_a_new_minute_counts_anew(limited):
    log, limit, lines = limited
    for _ in range(3):
        for _ in range(MOST):
            log.info("verdict=PASS")
        limit.begin_minute()
    assert len(lines()) == 3 * MOST


def test_what_somebody_looks_for_is_always_written(limited):
    log, _, lines = limited
    for number in range(MOST * 5):
        log.info("verdict=FAIL seq=%d", number, extra=ALWAYS)
    assert len(lines()) == MOST * 5


def test_many_threads_lose_no_line_from_the_count(limited):
    log, limit, lines = limited

    def write():
        for number in range(500):
            log.info("verdict=PASS seq=%d", number)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    limit.begin_minute()
    assert parse(lines()[-1])["left_out"] == str(4 * 500 - MOST)


PROGRAM = """\
import logging, sys
from edge_agent.log_lines import log_lines
with log_lines(sys.stderr, verbose={verbose}):
    for number in range(25):
        logging.getLogger("x").info("verdict=PASS seq=%d", number)
    logging.getLogger("x").debug("detail=%s", "of use to a programmer")
"""


@pytest.mark.parametrize(("verbose", "count", "last"), [(False, MOST + 1, "left_out=5"), (True, 26, "detail=")])
def test_at_the_end_what_was_left_out_is_said_and_verbose_leaves_out_nothing(verbose, count, last):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(verbose=verbose)], check=True, capture_output=True, text=True, timeout=60
    )
    assert len(done.stderr.splitlines()) == count
    assert last in done.stderr.splitlines()[-1]


def test_a_journal_that_hangs_holds_up_nobody_and_what_is_lost_is_counted(logger):
    log, own, _ = logger
    log.removeHandler(own)
    reader, end = os.pipe()
    with os.fdopen(reader) as journal, os.fdopen(end, "w") as stream:
        writer = LogWriter(stream)
        log.addHandler(writer)
        writer.start()
        for number in range(5000):
            log.info("seq=%d %s", number, "x" * 100)
        written = read_until_silent(journal)
        log.info("the journal works again")
        writer.stop()
        written += read_until_silent(journal)
    log.removeHandler(writer)
    *lines, last = written
    assert last == "the journal works again"
    found = [(key, int(number)) for key, number in (line.split()[0].split("=") for line in lines)]
    numbers = [number for key, number in found if key == "seq"]
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 5000
    assert len(numbers) + sum(number for key, number in found if key == "lost_lines") == 5000


def read_until_silent(journal):
    lines = []
    while select.select([journal], [], [], 0.5)[0]:
        os.set_blocking(journal.fileno(), False)
        lines.append(os.read(journal.fileno(), 1 << 20))
    return b"".join(lines).decode().splitlines()


def test_a_mistake_in_a_log_call_ends_nothing(capsys, tmp_path):
    with (tmp_path / "log").open("w") as stream:
        writer = LogWriter(stream)
        writer.start()
        for value in ("seven", 8):
            writer.handle(logging.LogRecord("x", logging.INFO, "f", 1, "seq=%d", (value,), None))
        writer.stop()
    assert (tmp_path / "log").read_text() == "seq=8\n"
    assert "--- Logging error ---" in capsys.readouterr().err
