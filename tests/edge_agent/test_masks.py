import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_agent.masks import EncodedMask, decode_mask, decode_png, decode_rle, encode_mask, encode_png, encode_rle
from engines.errors import MessageError

masks = arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))
sizes_wh = st.tuples(st.integers(1, 40), st.integers(1, 40))


def scaled(mask, size_wh):
    rows = [int((row + 0.5) * mask.shape[0] / size_wh[1]) for row in range(size_wh[1])]
    columns = [int((column + 0.5) * mask.shape[1] / size_wh[0]) for column in range(size_wh[0])]
    return mask[np.ix_(rows, columns)]


def reference_rle(mask):
    """rleEncode and rleToString of cocoapi's common/maskApi.c, line by line."""
    counts, last, run = [], 0, 0
    for pixel in mask.T.ravel().astype(int):
        if pixel != last:
            counts.append(run)
            run, last = 0, pixel
        run += 1
    counts.append(run)
    text = []
    for index, count in enumerate(counts):
        x = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            c = x & 0x1F
            x >>= 5
            more = x != -1 if c & 0x10 else x != 0
            text.append((c | 0x20 if more else c) + 48)
    return bytes(text)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # One character holds 5 bits with a sign; '0' is 48: worked out by hand from maskApi.c.
        (["0"], b"1"),
        (["1"], b"01"),
        (["00", "00"], b"4"),
        (["11", "11"], b"04"),
        (["01", "00"], b"211"),
        (["010", "010", "010"], b"333"),
        (["0101"], b"1110"),
    ],
)
def test_rle_strings_worked_out_by_hand(rows, expected):
    mask = np.array([[character == "1" for character in row] for row in rows])
    assert encode_rle(mask) == expected


def test_counts_beyond_one_character_and_negative_differences():
    mask = np.zeros((100, 1), bool)
    mask[50:60] = True
    mask[61:63] = True
    # counts 50, 10, 1, 2, 37 -> written 50, 10, 1, 2-10, 37-1
    assert encode_rle(mask) == b"b1" + b":" + b"1" + b"H" + b"T1"


@given(masks)
def test_rle_equals_the_reference_implementation(mask):
    assert encode_rle(mask) == reference_rle(mask)


@given(masks)
def test_rle_round_trip(mask):
    assert np.array_equal(decode_rle(encode_rle(mask), mask.shape[::-1]), mask)


@given(masks)
def test_png_round_trip(mask):
    assert np.array_equal(decode_png(encode_png(mask)), mask)


@given(masks, sizes_wh)
def test_scaling_takes_the_cell_under_the_centre(mask, size_wh):
    expected = scaled(mask, size_wh)
    assert np.array_equal(decode_rle(encode_rle(mask, size_wh), size_wh), expected)
    assert np.array_equal(decode_png(encode_png(mask, size_wh)), expected)


@given(masks, sizes_wh, st.sampled_from([1, 8, 2048]))
def test_either_encoding_decodes_to_the_same_mask(mask, size_wh, limit):
    encoded = encode_mask(mask, size_wh, inline_limit_bytes=limit)
    assert encoded.size_wh == size_wh
    assert np.array_equal(decode_mask(encoded), scaled(mask, size_wh))


def test_a_long_string_becomes_a_png_of_one_bit():
    mask = np.random.default_rng(1).random((64, 64)) < 0.5
    encoded = encode_mask(mask, (128, 128))
    assert encoded.encoding == "png"
    assert encoded.data[24] == 1
    assert cv2.imdecode(np.frombuffer(encoded.data, np.uint8), cv2.IMREAD_UNCHANGED).shape == (128, 128)


@pytest.mark.parametrize(("limit", "encoding"), [(3, "coco_rle"), (2, "png")])
def test_the_limit_itself_is_still_inline(limit, encoding):
    mask = np.zeros((2, 2), bool)
    mask[0, 1] = True
    assert encode_rle(mask) == b"211"
    assert encode_mask(mask, (2, 2), inline_limit_bytes=limit).encoding == encoding


@settings(max_examples=300)
@given(st.binary(max_size=40), sizes_wh)
def test_foreign_bytes_are_refused_or_decoded_but_never_crash(data, size_wh):
    for encoding in ("coco_rle", "png"):
        try:
            mask = decode_mask(EncodedMask(encoding, size_wh, data))
        except MessageError:
            continue
        assert mask.shape == size_wh[::-1]


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(MessageError, match="4 x 4 but its verdict says 5 x 4"):
        decode_mask(EncodedMask("png", (5, 4), encode_png(np.ones((4, 4), bool))))
