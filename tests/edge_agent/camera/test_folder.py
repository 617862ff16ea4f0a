import shutil
import time

import cv2
import numpy as np
import pytest

from edge_agent.camera.source import EndOfFrames, check_camera_uri, open_camera
from engines.errors import ConfigError, FrameError, NoInputError

SHAPE = (80, 96, 3)


def write(folder, name, value, shape=SHAPE, dtype=np.uint8):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full(shape, value, dtype))
    return path


def deliver(uri, shape=SHAPE):
    """Return (source, first pixel or the reason) of every frame."""
    source = open_camera(uri)
    into = np.zeros(shape, np.uint8)
    seen = []
    while True:
        try:
            info = source.grab()
        except EndOfFrames:
            source.close()
            return seen
        try:
            source.retrieve(into)
            seen.append((info.source, int(into[0, 0, 0])))
        except FrameError as problem:
            seen.append((info.source, problem.reason))
        source.prepare()


def test_images_come_by_name_and_folders_below_on_request(tmp_path):
    write(tmp_path, "b.png", 2)
    write(tmp_path, "a.bmp", 1)
    write(tmp_path, "good/c.png", 3)
    (tmp_path / "notes.txt").write_text("no image")
    assert deliver(f"folder://{tmp_path}") == [("a.bmp", 1), ("b.png", 2)]
    everything = [("a.bmp", 1), ("b.png", 2), ("good/c.png", 3)]
    assert deliver(f"folder://{tmp_path}?recursive=true") == everything


def test_relative_and_encoded_paths(tmp_path, monkeypatch):
    write(tmp_path, "my frames/a.png", 1)
    monkeypatch.chdir(tmp_path)
    assert deliver("folder://my%20frames") == [("a.png", 1)]
    assert deliver("folder://my frames") == [("a.png", 1)]


def test_each_bad_file_is_one_bad_frame_and_the_rest_is_delivered(tmp_path):
    write(tmp_path, "0.png", 10)
    (tmp_path / "1-text.png").write_text("no image")
    whole = write(tmp_path, "2-truncated.png", 3).read_bytes()
    (tmp_path / "2-truncated.png").write_bytes(whole[: len(whole) // 2])
    write(tmp_path, "3-tiny.png", 3, (1, 1, 3))
    write(tmp_path, "4-deep.png", 3, SHAPE, np.uint16)
    write(tmp_path, "5-grey.png", 3, (80, 96))
    write(tmp_path, "6-alpha.png", 3, (80, 96, 4))
    write(tmp_path, "7-large.png", 3, (96, 80, 3))
    (tmp_path / "8-empty.png").write_bytes(b"")
    write(tmp_path, "9.png", 19)
    reasons = [reason for _, reason in deliver(f"folder://{tmp_path}")]
    unreadable, size = "unreadable_frame", "frame_size"
    assert reasons == [10, unreadable, unreadable, unreadable, unreadable, size, size, size, unreadable, 19]


def test_a_frame_that_vanishes_is_a_bad_frame(tmp_path):
    write(tmp_path, "a.png", 1)
    write(tmp_path, "b.png", 2)
    source = open_camera(f"folder://{tmp_path}")
    (tmp_path / "a.png").unlink()
    source.grab()
    with pytest.raises(FrameError, match=r"a\.png cannot be read"):
        source.retrieve(np.zeros(SHAPE, np.uint8))
    assert source.grab().source == "b.png"


def test_a_folder_of_bad_files_only_has_no_shape(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    assert open_camera(f"folder://{tmp_path}").frame_shape is None


def test_an_empty_and_a_missing_folder_are_told_apart(tmp_path):
    with pytest.raises(NoInputError, match="holds no image"):
        open_camera(f"folder://{tmp_path}")
    with pytest.raises(NoInputError, match="is not a folder"):
        open_camera(f"folder://{tmp_path / 'x'}")


def test_a_loop_begins_again(tmp_path):
    write(tmp_path, "a.png", 1)
    write(tmp_path, "b.png", 2)
    source = open_camera(f"folder://{tmp_path}?loop=true")
    assert [source.grab().source for _ in range(5)] == ["a.png", "b.png", "a.png", "b.png", "a.png"]


def test_a_rate_holds_frames_back_and_loses_none(tmp_path):
    for number in range(6):
        write(tmp_path, f"{number}.png", number)
    began = time.monotonic()
    frames = deliver(f"folder://{tmp_path}?pace=50")
    assert time.monotonic() - began >= 0.099
    assert [value for _, value in frames] == list(range(6))


@pytest.mark.parametrize("pace", ["fast", "0", "0.5", "nan", "-3", ""])
def test_a_wrong_pace_is_refused(pace, tmp_path):
    with pytest.raises(ConfigError, match="option 'pace'"):
        check_camera_uri(f"folder://{tmp_path}?pace={pace}")


def test_an_mvtec_test_folder_works_as_it_is(tmp_path):
    for label in ("good", "broken_large"):
        for number in range(2):
            write(tmp_path, f"test/{label}/{number:03}.png", number)
    shutil.copytree(tmp_path / "test", tmp_path / "copy")
    names = [name for name, _ in deliver(f"folder://{tmp_path}/copy?recursive=1")]
    assert names == ["broken_large/000.png", "broken_large/001.png", "good/000.png", "good/001.png"]
