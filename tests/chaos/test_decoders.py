"""A short round over every decoder; `make chaos` has the long one, led by what the code does."""

import json
import random

import pytest

from chaos.decoders import DECODERS

ROUNDS = 30
_NASTY = (
    b"",
    b"[" * 5000,
    b'{"a":' * 5000,
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b'"' * 3,
    b"1e999",
    b"9" * 5000,
    b"- " * 3000,
)


@pytest.fixture(params=DECODERS)
def decoder(request, tmp_path):
    return DECODERS[request.param](tmp_path)


def test_its_example_is_understood(decoder):
    decoder.read(decoder.example)


def test_anything_is_understood_or_refused(decoder):
    dice = random.Random(0)
    for number in range(ROUNDS):
        decoder.take(spoil(decoder.example, dice))
        for nasty in _NASTY if number == 0 else ():
            decoder.take(nasty)


@pytest.mark.parametrize("files", [{5000 * "a": "x"}, [[1, 2]], {"a\0b": "x"}, {"/": "x"}, {"recipe.yaml": 5}, "ab"])
def test_a_manifest_may_name_anything(tmp_path, files):
    decoder = DECODERS["manifest_file"](tmp_path)
    with pytest.raises(decoder.refused):
        decoder.read(json.dumps({"sha256": files}).encode())


def spoil(example, dice):
    """Cut, double, swap or overwrite some of it."""
    content = bytearray(example)
    for _ in range(dice.randint(1, 4)):
        at, until = sorted(dice.randrange(len(content) + 1) for _ in range(2))
        match dice.randrange(5):
            case 0:
                del content[at : min(until, at + 8)]
            case 1:
                content[at:at] = content[at:until][:20]
            case 2:
                content[at:at] = dice.choice(_NASTY)[:20]
            case 3:
                content[at : at + 1] = bytes([dice.randrange(256)])
            case _:
                content[at : at + 1] = dice.choice([b"0", b"-", b"null", b"[]", b"{}", b"1e400", b"\\ud800"])
    return bytes(content)
