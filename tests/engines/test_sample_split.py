"""Whole groups are divided so that enough frames are left to train on."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from engines.errors import DatasetError
from engines.sample_split import Sample, merge_groups, set_aside_count, split


def samples(frames, group_of, seed=0):
    digests = (hashlib.sha256(f"{seed},{index}".encode()).hexdigest() for index in range(frames))
    return [Sample(Path(f"{index}.png"), digest, str(group_of(index))) for index, digest in enumerate(digests)]


def blocks(frames, count, seed=0):
    return samples(frames, lambda index: index * count // frames, seed)


@pytest.mark.parametrize("count", [2, 3])
def test_two_or_three_blocks_cannot_be_divided(count):
    with pytest.raises(DatasetError, match=rf"in {count} groups .* cannot be divided.* Write smaller blocks"):
        split(blocks(120, count))


@pytest.mark.parametrize(
    ("frames", "count", "share"),
    [(40, 5, 0.4), (40, 10, 0.4), (120, 4, 0.4), (120, 6, 0.4), (120, 8, 0.4), (200, 4, 0.5), (493, 8, 0.5)],
)
@pytest.mark.parametrize("seed", range(10))
def test_large_blocks_leave_enough_to_train_on(frames, count, share, seed):
    given = blocks(frames, count, seed)
    uses = split(given)
    counts = Counter(uses.values())
    assert counts["trained"] >= int(share * frames)
    assert counts["tuning"] > 0
    assert 2 * counts["set_aside"] >= set_aside_count(frames)
    assert all(len({uses[digest] for digest in members}) == 1 for members in merge_groups(given))


@pytest.mark.parametrize("seed", range(10))
def test_one_large_block_is_passed_over(seed):
    uses = split(samples(200, lambda index: "night" if index < 100 else index, seed))
    assert Counter(uses.values()) == {"trained": 135, "set_aside": 50, "tuning": 15}


@pytest.mark.parametrize("frames", [10, 11, 12, 40, 99, 100, 124, 125, 126, 300])
def test_single_frames_are_divided_exactly(frames):
    counts = Counter(split(samples(frames, lambda index: index)).values())
    assert counts["set_aside"] == set_aside_count(frames)
    assert counts["tuning"] == max(1, round(0.1 * (frames - counts["set_aside"])))


def test_groups_that_share_a_picture_are_one():
    given = [Sample(Path(str(i)), digest, group) for i, (digest, group) in enumerate(["xa", "ya", "yb", "zb", "wc"])]
    assert sorted(map(sorted, merge_groups(given))) == [["w"], ["x", "y", "z"]]
