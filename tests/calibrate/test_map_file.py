import numpy as np
import pytest

from calibrate.map_file import MapFile


@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (1, 1)])
def test_maps_come_back_as_they_were_in_any_order(shape):
    random = np.random.default_rng(0)
    written = [(random.normal(size=shape).astype(np.float32), random.random(shape) < 0.5) for _ in range(5)]
    with MapFile(shape) as maps:
        assert [maps.append(z, mask) for z, mask in written] == [0, 1, 2, 3, 4]
        for number in (3, 0, 4, 0):
            z, mask = maps.read(number)
            assert z.dtype == np.float32
            assert (z == written[number][0]).all()
            assert mask.dtype == bool
            assert (mask == written[number][1]).all()
        assert maps.append(*written[0]) == 5
        assert (maps.read(5)[1] == written[0][1]).all()


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with MapFile((8, 8)) as maps:
        maps.append(np.zeros((8, 8), np.float32), np.zeros((8, 8), bool))
        assert list(tmp_path.iterdir()) == []
