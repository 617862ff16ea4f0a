"""Threshold revisions: written whole, put in force at once, taken back, and every change logged."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from recipe_copies import rename

from edge_agent import revisions
from edge_agent.revisions import activate, read_log, revision_names, rollback, save_thresholds
from edge_agent.thresholds import load_thresholds, name_in_force
from engines.errors import RecipeError, ThresholdsError
from engines.recipe import load_recipe, write_manifest


@pytest.fixture
def recipe(fitted_recipe, tmp_path):
    """A recipe with three revisions, r0001 in force."""
    folder = shutil.copytree(fitted_recipe, tmp_path / "recipe")
    for _ in range(2):
        save(folder)
    assert revision_names(folder) == ["r0001", "r0002", "r0003"]
    return folder


def save(folder):
    return save_thresholds(folder, load_thresholds(folder), images_csv="", versions={})


def test_a_saved_revision_has_the_next_name_and_is_not_in_force(recipe):
    assert save(recipe).name == "r0004"
    assert load_thresholds(recipe, name="r0004").name == "r0004"
    assert name_in_force(recipe) == "r0001"


def test_a_revision_is_readable_by_the_service_whatever_the_technician_s_umask(recipe):
    before = os.umask(0o077)
    try:
        folder = recipe / "thresholds" / save(recipe).name
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755


def test_the_first_revision_is_readable_by_the_service_too(recipe):
    revision = load_thresholds(recipe)
    shutil.rmtree(recipe / "thresholds")
    before = os.umask(0o077)
    try:
        save_thresholds(recipe, revision, images_csv="", versions={})
    finally:
        os.umask(before)
    assert (recipe / "thresholds").stat().st_mode & 0o777 == 0o755


def test_two_fits_at_once_make_two_revisions(recipe):
    with ThreadPoolExecutor(4) as pool:
        names = [revision.name for revision in pool.map(lambda _: save(recipe), range(8))]
    assert sorted(names) == [f"r{number:04d}" for number in range(4, 12)]
    assert all(load_thresholds(recipe, name=name) for name in names)


def test_a_full_disk_leaves_nothing_behind(recipe, monkeypatch):
    def full(path, content, **_):
        raise OSError(28, "No space left on device")

    before = sorted(p.name for p in (recipe / "thresholds").iterdir())
    monkeypatch.setattr(revisions, "replace_file", full)
    with pytest.raises(OSError, match="No space"):
        save(recipe)
    with pytest.raises(OSError, match="No space"):
        activate(recipe, "r0002")
    monkeypatch.undo()
    assert [name for name in sorted(p.name for p in (recipe / "thresholds").iterdir()) if name != "log.jsonl"] == [
        name for name in before if name != "log.jsonl"
    ]
    assert name_in_force(recipe) == "r0001"


def test_what_a_crash_left_does_not_count_and_does_not_stop_the_next_fit(recipe):
    (recipe / "thresholds" / ".r0004.partial").mkdir()
    assert revision_names(recipe) == ["r0001", "r0002", "r0003"]
    assert save(recipe).name == "r0004"
    assert not list((recipe / "thresholds").glob(".*"))


def test_every_change_is_logged_with_who_why_and_what_was_before(recipe):
    known = len(read_log(recipe))
    activate(recipe, "r0002", note="lens cleaned")
    change = read_log(recipe)[known]
    assert (change.action, change.revision, change.before, change.note) == (
        "activate", "r0002", "r0001", "lens cleaned",
    )  # fmt: skip
    assert change.who
    assert change.at


def test_rollback_goes_back_step_by_step_and_not_to_and_fro(recipe):
    activate(recipe, "r0002")
    activate(recipe, "r0003")
    assert rollback(recipe, note="rejects good parts").name == "r0002"
    assert rollback(recipe).name == "r0001"
    assert name_in_force(recipe) == "r0001"
    with pytest.raises(ThresholdsError, match="nothing was in force before r0001"):
        rollback(recipe)
    assert [change.action for change in read_log(recipe)][-2:] == ["rollback", "rollback"]


@pytest.mark.parametrize("damage", ["missing", "altered", "gone"])
def test_a_damaged_revision_is_refused_and_the_one_in_force_stays(recipe, damage):
    folder = recipe / "thresholds" / "r0002"
    if damage == "gone":
        shutil.rmtree(folder)
    elif damage == "missing":
        (folder / "scale.npy").unlink()
    else:
        (folder / "location.npy").write_bytes(b"x" + (folder / "location.npy").read_bytes()[1:])
    lines = len(read_log(recipe))
    with pytest.raises(ThresholdsError):
        activate(recipe, "r0002")
    assert name_in_force(recipe) == "r0001"
    assert len(read_log(recipe)) == lines


def test_what_another_version_of_the_program_made_is_not_to_be_corrected_by_hand(recipe):
    with (recipe / "thresholds" / "r0002" / "calibration.yaml").open("a") as file:
        file.write("unheard_of: 3\n")
    write_manifest(recipe / "thresholds" / "r0002", versions={})
    with pytest.raises(ThresholdsError, match=r"unheard_of: unknown key") as refused:
        activate(recipe, "r0002")
    assert "Another version of this program made it: install that one here, fit again" in refused.value.fix
    rename(recipe, unheard_of=3)
    with pytest.raises(RecipeError, match=r"unheard_of: unknown key") as refused:
        load_recipe(recipe)
    assert "Another version of this program made it: install that one here, or train again" in refused.value.fix


def test_a_line_that_a_power_cut_has_cut_short_hides_no_other(recipe):
    activate(recipe, "r0002")
    log = recipe / "thresholds" / "log.jsonl"
    with log.open("a") as file:
        file.write('{"at": "2026-')
    activate(recipe, "r0003")
    assert [change.revision for change in read_log(recipe)][-2:] == ["r0002", "r0003"]


def test_what_is_in_force_is_never_missing_in_the_log(recipe, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(revisions, "_append", full)
    with pytest.raises(OSError, match="No space"):
        activate(recipe, "r0002")
    assert name_in_force(recipe) == "r0001"


def test_the_log_is_plain_json_lines(recipe):
    activate(recipe, "r0002", note='größer "als" 5 %')
    lines = [line for line in (recipe / "thresholds" / "log.jsonl").read_text().splitlines() if line]
    assert json.loads(lines[-1])["note"] == 'größer "als" 5 %'


def test_a_saved_revision_keeps_its_content(recipe):
    kept = load_thresholds(recipe)
    found = load_thresholds(recipe, name=save(recipe).name)
    assert (found.location == kept.location).all()
    assert (found.scale == kept.scale).all()
    assert found.calibration == replace_name(kept, found.name)


def replace_name(revision, name):
    return replace(revision, calibration=revision.calibration.model_copy(update={"revision": name})).calibration


def test_rollback_takes_back_what_is_in_force_where_a_change_was_logged_and_never_made(recipe, monkeypatch):
    activate(recipe, "r0002")

    def full(path, content, **_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(revisions, "replace_file", full)
        with pytest.raises(OSError, match="No space"):
            activate(recipe, "r0003")
    assert name_in_force(recipe) == "r0002"
    assert rollback(recipe).name == "r0001"


def test_rollback_undoes_what_came_after_a_return_to_an_older_one(recipe):
    for name in ("r0002", "r0003", "r0002"):
        activate(recipe, name)
    assert [rollback(recipe).name for _ in range(3)] == ["r0003", "r0002", "r0001"]


def test_a_copied_folder_is_no_revision(recipe):
    shutil.copytree(recipe / "thresholds" / "r0001", recipe / "thresholds" / "r0007")
    with pytest.raises(ThresholdsError, match="holds revision r0001"):
        activate(recipe, "r0007")
    assert name_in_force(recipe) == "r0001"


def test_a_revision_of_another_model_is_refused(recipe):
    (recipe / "model.cpu.onnx").write_bytes(b"another")
    with pytest.raises(ThresholdsError, match=r"another model\.cpu\.onnx"):
        activate(recipe, "r0002")


def test_a_damaged_name_in_force_can_be_mended(recipe):
    (recipe / "thresholds" / "current").write_bytes(b"\xff\0")
    with pytest.raises(ThresholdsError, match="is damaged"):
        load_thresholds(recipe)
    activate(recipe, "r0002")
    assert name_in_force(recipe) == "r0002"


def test_a_name_is_never_used_again(recipe):
    activate(recipe, "r0003")
    activate(recipe, "r0001")
    shutil.rmtree(recipe / "thresholds" / "r0003")
    assert save(recipe).name == "r0004"


def test_a_log_with_a_broken_byte_and_a_note_that_no_encoding_knows_can_be_read(recipe):
    (recipe / "thresholds" / "log.jsonl").write_bytes(b'{"at": "\xff"\n')
    activate(recipe, "r0002", note="caf\udce9")
    assert read_log(recipe)[-1].note == "caf?"
