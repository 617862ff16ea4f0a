"""The archive stays within its bounds whatever comes, keeps rejects longest, and touches no file that is not its own."""

import errno
import json
import shutil
from datetime import date, timedelta

import numpy as np
import pytest
from parts import draw_part

from edge_agent.archive import Archive, Sighting
from engines.images import list_images, read_image

DAY = date(2026, 3, 1)
MB = 1_000_000


def sighting(kind, number, *, day=DAY, maps=True, is_set=True):
    """A frame that is noise, so that every file is about as large."""
    verdict = json.dumps({"seq": number, "clock_synced": is_set}).encode()
    noise = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
    error = np.full((2, 8, 8), 0.25, np.float32) if maps else None
    return Sighting(kind, f"{day}T10:00:00.{number:06}Z", number, noise, error, verdict)


def kept(folder):
    return sorted(path.parts[-2] + " " + path.stem.split("-")[-1] for path in folder.rglob("*.json"))


@pytest.fixture
def make_archive(tmp_path):
    def make(**bounds):
        return Archive(
            tmp_path / "archive", **{"max_bytes": 100 * MB, "keep_days": 10, "least_free_bytes": 0, **bounds}
        )

    return make


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.*") if path.is_file())


def test_a_frame_is_kept_whole_with_its_maps_and_its_verdict(make_archive):
    archive = make_archive()
    frame = draw_part(1)
    maps = np.random.default_rng(1).uniform(0, 2, (2, 8, 8)).astype(np.float32)
    archive.add(Sighting("FAIL", "2026-03-01T10:11:12.123456Z", 7, frame, maps, b'{"seq": 7}'), today=DAY)
    stem = archive.folder / "2026-03-01" / "FAIL" / "101112.123456-7"
    assert np.array_equal(read_image(stem.with_name(stem.name + ".png")), frame)
    assert (stem.with_name(stem.name + ".json")).read_bytes() == b'{"seq": 7}'
    with np.load(stem.with_name(stem.name + ".npz")) as file:
        np.testing.assert_allclose(file["maps"], maps, rtol=1e-3)
    assert list_images(stem.parent) == [stem.with_name(stem.name + ".png")], "the folder can be replayed"


def test_passed_parts_go_first_then_the_oldest_rejects(make_archive):
    archive = make_archive(max_bytes=5 * 14_000)
    for number, kind in enumerate(["FAIL", "PASS", "INVALID", "PASS", "LATE"]):
        archive.add(sighting(kind, number), today=DAY)
    assert kept(archive.folder) == ["FAIL 0", "INVALID 2", "LATE 4", "PASS 1", "PASS 3"]
    for number, expected in (
        (5, ["FAIL 0", "FAIL 5", "INVALID 2", "LATE 4", "PASS 3"]),
        (6, ["FAIL 0", "FAIL 5", "FAIL 6", "INVALID 2", "LATE 4"]),
        (7, ["FAIL 5", "FAIL 6", "FAIL 7", "INVALID 2", "LATE 4"]),
    ):
        archive.add(sighting("FAIL", number), today=DAY)
        assert kept(archive.folder) == expected
        assert size_of(archive.folder) == archive.held_bytes <= 5 * 14_000


def test_the_bounds_hold_over_a_restart(make_archive):
    first = make_archive()
    for number in range(6):
        first.add(sighting("FAIL" if number % 2 else "PASS", number), today=DAY)
    foreign = first.folder / str(DAY) / "FAIL" / "notes.txt"
    foreign.write_text("mine")
    (first.folder / "2026-03-01" / "FAIL" / "100000.000001-1.part").write_bytes(b"half")
    second = make_archive(max_bytes=3 * 14_000)
    second.add(sighting("FAIL", 9), today=DAY)
    assert kept(second.folder) == ["FAIL 3", "FAIL 5", "FAIL 9"]
    assert foreign.read_text() == "mine"
    assert not list(second.folder.rglob("*.part"))


@pytest.mark.parametrize(
    ("trusts_clock", "left"), [(True, ["FAIL 1", "FAIL 2"]), (False, ["FAIL 0", "FAIL 1", "FAIL 2"])]
)
def test_what_is_too_old_goes_unless_nobody_has_set_the_clock(make_archive, trusts_clock, left):
    archive = make_archive(keep_days=10)
    archive.add(sighting("FAIL", 0, day=DAY - timedelta(days=11)), today=DAY - timedelta(days=11))
    archive.add(sighting("FAIL", 1, day=DAY - timedelta(days=10)), today=DAY - timedelta(days=10))
    archive.add(sighting("FAIL", 2), today=DAY if trusts_clock else None)
    assert kept(archive.folder) == left
    assert (archive.folder / str(DAY - timedelta(days=11))).exists() is not trusts_clock, "empty days go, too"


UNSET_DAYS = [date(1970, 1, 1), DAY - timedelta(days=30), date(2099, 1, 1)]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("unset_day", UNSET_DAYS, ids=str)
def test_what_came_before_anybody_set_the_clock_goes_for_room_only_and_keeps_nothing_else(
    make_archive, unset_day, restarts
):
    archive = make_archive(keep_days=10)
    archive.add(sighting("FAIL", 0, day=unset_day, is_set=False), today=None)
    for number, days_before in ((1, 11), (2, 10), (3, 0)):
        if restarts:
            archive = make_archive(keep_days=10)
        day = DAY - timedelta(days=days_before)
        archive.add(sighting("FAIL", number, day=day), today=day)
    assert kept(archive.folder) == ["FAIL 0", "FAIL 2", "FAIL 3"]
    small = make_archive(max_bytes=2 * 14_000)
    small.add(sighting("FAIL", 4), today=DAY)
    assert len(kept(small.folder)) == 2


def test_a_day_that_a_person_has_removed_costs_no_new_frame(make_archive):
    archive = make_archive(max_bytes=3 * 14_000)
    for number in range(3):
        archive.add(sighting("FAIL", number, day=DAY - timedelta(days=1)), today=DAY)
    shutil.rmtree(archive.folder / str(DAY - timedelta(days=1)))
    for number in range(3, 6):
        archive.add(sighting("FAIL", number), today=DAY)
    assert kept(archive.folder) == ["FAIL 3", "FAIL 4", "FAIL 5"]


def test_a_disk_that_is_nearly_full_is_left_to_the_verdicts(make_archive):
    archive = make_archive()
    archive.add(sighting("PASS", 0), today=DAY)
    full = make_archive(least_free_bytes=1 << 60)
    with pytest.raises(OSError, match="must stay free for the verdicts") as caught:
        full.add(sighting("FAIL", 1), today=DAY)
    assert caught.value.errno == errno.ENOSPC
    assert kept(full.folder) == []
    assert full.held_bytes == 0


def test_what_is_larger_than_the_archive_is_refused(make_archive):
    archive = make_archive(max_bytes=1000)
    with pytest.raises(OSError, match="holds at most"):
        archive.add(sighting("FAIL", 1), today=DAY)


def test_a_frame_without_maps_is_kept_without(make_archive):
    archive = make_archive()
    archive.add(sighting("INVALID", 1, maps=False), today=DAY)
    assert [path.suffix for path in sorted((archive.folder / str(DAY) / "INVALID").iterdir())] == [".json", ".png"]
