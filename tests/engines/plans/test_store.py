import json
import os
from dataclasses import replace

import pytest

from engines.errors import EngineError
from engines.plans.builder import BuildOptions
from engines.plans.store import PlanKey, PlanStore, default_store

KEY = PlanKey("ab" * 32, "10.3.0", "Orin (8.7)", 12060, BuildOptions())
PLAN = bytes(range(256)) * 64


@pytest.fixture
def store(tmp_path):
    return PlanStore(tmp_path / "cache" / "plans", tmp_path / "state" / "plan.key")


@pytest.fixture
def saved(store):
    store.save(KEY, PLAN, {"typing": "strong"})
    return store.path_of(KEY)


def test_a_saved_plan_comes_back(store, saved):
    found = store.load(KEY)
    assert found.content == PLAN
    assert found.facts == {"typing": "strong"}
    assert saved.stat().st_mode & 0o777 == 0o600


def test_without_a_plan_there_is_none(store):
    assert store.load(KEY) is None


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "cd" * 32},
        {"tensorrt": "10.3.1"},
        {"gpu": "Orin NX (8.7)"},
        {"driver": 13000},
        {"options": BuildOptions(workspace_mib=512)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_differs_makes_another_plan(store, saved, change):
    other = replace(KEY, **change)
    assert store.path_of(other) != saved
    assert store.load(other) is None


def swap(path, _):
    path.write_bytes(PLAN[:-1] + b"\0")


def truncate(path, _):
    path.write_bytes(PLAN[:100])


def change_facts(path, _):
    side = json.loads(path.with_suffix(".json").read_text())
    side["facts"]["typing"] = "weak"
    path.with_suffix(".json").write_text(json.dumps(side))


def break_side_file(path, _):
    path.with_suffix(".json").write_text("[")


def empty_side_file(path, _):
    path.with_suffix(".json").write_text("{}")


def link_elsewhere(path, folder):
    (folder / "other").write_bytes(PLAN)
    path.unlink()
    path.symlink_to(folder / "other")


def open_to_others(path, _):
    path.chmod(0o666)


def no_plain_file(path, _):
    path.unlink()
    os.mkfifo(path)


def take_another_model(path, _):
    """The files of another key under this one's name: a plan of the right machine, for the wrong part."""
    store = PlanStore(path.parent, path.parent.parent.parent / "state" / "plan.key")
    other = replace(KEY, model_sha256="cd" * 32)
    store.save(other, PLAN, {"typing": "strong"})
    for suffix in (".plan", ".json"):
        store.path_of(other).with_suffix(suffix).replace(path.with_suffix(suffix))


DAMAGES = [
    swap, truncate, change_facts, break_side_file, empty_side_file, link_elsewhere, open_to_others, no_plain_file, take_another_model
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_cannot_be_trusted_is_not_loaded(store, saved, tmp_path, damage, caplog):
    damage(saved, tmp_path)
    assert store.load(KEY) is None
    assert "is refused and built again" in caplog.text
    store.save(KEY, PLAN, {"typing": "strong"})
    assert store.load(KEY).content == PLAN


def test_a_plan_of_another_machine_is_not_loaded(store, saved, tmp_path):
    (tmp_path / "state" / "plan.key").unlink()
    assert store.load(KEY) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_plan_of_somebody_else_is_not_loaded(store, saved, monkeypatch):
    os.chown(saved, 12345, 12345)
    assert store.load(KEY) is None


def test_the_key_is_for_this_user_only(store, saved, tmp_path):
    key = tmp_path / "state" / "plan.key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    with pytest.raises(EngineError, match=r"others could have changed it.*Delete it"):
        store.load(KEY)


def test_a_short_key_is_refused(store, saved, tmp_path):
    (tmp_path / "state" / "plan.key").write_bytes(b"short")
    with pytest.raises(EngineError, match="5 bytes instead of 32"):
        store.load(KEY)


def test_the_timing_cache_serves_every_model_of_the_machine(store):
    store.save_timing_cache(KEY, b"measured")
    assert store.timing_cache(replace(KEY, model_sha256="cd" * 32)) == b"measured"
    assert store.timing_cache(replace(KEY, tensorrt="11.4.0")) == b""


def test_a_damaged_timing_cache_is_empty(store, tmp_path):
    store.save_timing_cache(KEY, b"measured")
    (path,) = (tmp_path / "cache" / "plans").glob("*.timing")
    path.write_bytes(path.read_bytes() + b"x")
    assert store.timing_cache(KEY) == b""


def test_a_service_keeps_them_in_its_own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_DIRECTORY", f"{tmp_path}/cache:{tmp_path}/other")
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/state")
    store = default_store()
    store.save(KEY, PLAN, {})
    assert (tmp_path / "cache" / "plans").is_dir()
    assert (tmp_path / "state" / "plan.key").is_file()
