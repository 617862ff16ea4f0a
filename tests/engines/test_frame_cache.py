"""The frames at map size lie in a file, and a disk that is too small is a message."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.cli import main
from engines.errors import EngineError, FrameError
from engines.frame_cache import cache_samples, to_uint8
from engines.reduction import Geometry, reduce_frame
from engines.survey import survey


@pytest.fixture
def images(good_frames_folder):
    return survey(good_frames_folder, resize="none")


def test_the_cache_holds_reduced_frames(images, tmp_path):
    geometry = Geometry(images.frame_shape, (10, 8, 70, 66), (64, 64))
    cache = cache_samples(images, images.samples[:3], geometry, tmp_path / "cache")
    for index in range(3):
        expected = to_uint8(reduce_frame(images.read(images.samples[index]), geometry))
        np.testing.assert_array_equal(cache[index], expected)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_the_frames_are_mapped_so_that_they_need_no_memory_of_their_own(images, tmp_path):
    geometry = Geometry(images.frame_shape, (0, 0, 96, 80), (64, 64))
    cache = cache_samples(images, images.samples[:2], geometry, tmp_path / "cache")
    (line,) = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path / "cache") in line]
    assert line.split()[1] == "r--s"
    assert not cache.flags.writeable


def test_a_map_that_the_system_refuses_is_a_message(images, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(np, "memmap", refuse)
    geometry = Geometry(images.frame_shape, (0, 0, 96, 80), (64, 64))
    with pytest.raises(
        EngineError, match=r"64 x 64 cannot be mapped, 0\.0 MB: Cannot allocate memory\. .*smaller --size"
    ):
        cache_samples(images, images.samples[:2], geometry, tmp_path / "cache")


def test_what_the_network_sees_can_be_made_of_frames_that_are_read_only(images, tmp_path):
    pytest.importorskip("torch", reason="training needs torch: pip install 'edge-agent[train]'")
    from engines.forward import as_pictures

    geometry = Geometry(images.frame_shape, (0, 0, 96, 80), (64, 64))
    cache = cache_samples(images, images.samples[:2], geometry, tmp_path / "cache")
    assert as_pictures(cache[:1]).shape == (1, 3, 64, 64)


def test_a_file_that_vanished_is_named(tmp_path, good_frames_folder):
    for index in range(10):
        frame = cv2.imread(str(good_frames_folder / f"{index:03d}.png"))
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame)
    images = survey(tmp_path, resize="none")
    (tmp_path / "3.png").unlink()
    geometry = Geometry(images.frame_shape, (0, 0, 96, 80), (64, 64))
    with pytest.raises(FrameError, match=r"3\.png cannot be read: No such file"):
        cache_samples(images, images.samples, geometry, tmp_path / "cache")


LIMITED = """
import resource, sys
from pathlib import Path
from engines.errors import StorageError
from engines.frame_cache import cache_samples
from engines.reduction import Geometry
from engines.survey import survey
images = survey(Path(sys.argv[1]), resize="none")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    cache_samples(images, images.samples, Geometry(images.frame_shape, (0, 0, 96, 80), (64, 64)), Path(sys.argv[2]))
except StorageError as problem:
    print(problem.exit_code, problem)
"""


def test_a_file_that_may_not_grow_so_large_is_a_message(good_frames_folder, tmp_path):
    words = [sys.executable, "-c", LIMITED, str(good_frames_folder), str(tmp_path / "cache")]
    answer = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (
        "74 40 images scaled to 64 x 64 need 0.5 MB and cannot be kept beside the recipe: File too large;"
        in answer.stdout
    )
    assert answer.stdout.rstrip().endswith("or give a smaller --size.")


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system: run as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_train_with_an_io_error_and_nothing_left_behind(good_frames_folder, small_disk, capsys):
    pytest.importorskip("torch", reason="training needs torch: pip install 'edge-agent[train]'")
    words = ["train", str(good_frames_folder), "--recipe", str(small_disk / "recipe"), "--size", "64", "--steps", "1"]
    assert main(words) == 74
    error = capsys.readouterr().err
    assert "18 images scaled to 64 x 64 need 0.2 MB" in error
    assert "No space left on device; 0.1 MB are free there." in error
    assert list(small_disk.iterdir()) == []
