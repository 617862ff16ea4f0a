import json
import shutil

import cv2
import pytest
import yaml

from edge_agent.cli import main
from edge_agent.replay import compare


@pytest.fixture
def frames(tmp_path, good_frames_folder):
    folder = tmp_path / "frames"
    (folder / "sub").mkdir(parents=True)
    for index, source in enumerate(sorted(good_frames_folder.glob("*.png"))[:5]):
        shutil.copy(source, folder / f"{index}.png")
    frame = cv2.imread(str(folder / "0.png"))
    frame[30:46, 30:50] = 0
    cv2.imwrite(str(folder / "sub" / "bar.png"), frame)
    (folder / "9.png").write_text("no picture")
    return folder


@pytest.fixture
def config(tmp_path, fitted_recipe):
    path = tmp_path / "station.yaml"
    content = {
        "schema": 1,
        "site": "test",
        "station": "cell",
        "recipe": str(fitted_recipe),
        "state_dir": "state",
        "camera": {"uri": "v4l2:///dev/video0", "mode": "triggered"},
        "engine": {"threads": 1},
        "trigger": {"deadline_ms": 100, "capture_within_ms": 100, "dedupe_window_s": 60},
        "mqtt": {"broker": "mqtt://127.0.0.1:1", "consumer": "plc"},
    }
    path.write_text(yaml.safe_dump(content))
    return path


def replayed(config, frames, *more):
    return main(["replay", "--config", str(config), str(frames), *map(str, more)])


@pytest.fixture
def results(tmp_path, config, frames):
    path = tmp_path / "results.jsonl"
    assert replayed(config, frames, "--results", path) == 0
    return path


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_frame_gives_one_line_in_order(results, capsys):
    lines = lines_of(results)
    assert [line["source"] for line in lines] == ["0.png", "1.png", "2.png", "3.png", "4.png", "9.png", "sub/bar.png"]
    assert [line["verdict"] for line in lines] == ["PASS"] * 5 + ["INVALID", "FAIL"]
    assert lines[5]["reasons"] == ["unreadable_frame"]
    assert lines[6]["mask"]["encoding"] == "coco_rle"
    assert [line["frame_seq"] for line in lines] == list(range(7))


def test_two_runs_are_equal_to_the_byte(results, config, frames, tmp_path, capsys):
    again = tmp_path / "again.jsonl"
    assert replayed(config, frames, "--results", again, "--expect", results) == 0
    assert again.read_bytes() == results.read_bytes()
    assert "No verdict and no mask changed." in capsys.readouterr().out


def expect(results, change):
    lines = lines_of(results)
    change(lines)
    results.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[0].update(verdict="FAIL"), "0.png: was FAIL"),
        (lambda lines: lines[1].update(score=0.5), "1.png: score changed on the same machine"),
        (lambda lines: lines.pop(2), "2.png: new"),
        (lambda lines: lines.append({**lines[0], "source": "gone.png"}), "gone.png: missing"),
    ],
)
def test_a_changed_frame_is_named_and_the_exit_code_says_so(results, config, frames, capsys, change, said):
    expect(results, change)
    assert replayed(config, frames, "--expect", results) == 1
    assert said in capsys.readouterr().out


def test_one_more_file_flags_itself_and_no_later_frame(results, config, frames, capsys):
    shutil.copy(frames / "0.png", frames / "00.png")
    assert replayed(config, frames, "--expect", results) == 1
    said = capsys.readouterr()
    assert "00.png: new, not in the expected run" in said.out
    assert "changed" not in said.out + said.err
    assert "1 frames differ from the expected run" in said.err


LINE = {"source": "a", "verdict": "PASS", "reasons": [], "score": 1.0, "defects": [], "mask": None, "made_on": "here"}


@pytest.mark.parametrize("change", [{"frame_seq": 7}, {"a_later_key": 1}])
def test_only_what_was_judged_is_compared(change):
    assert compare([{**LINE, **change}], [LINE]) == []
    assert compare([LINE], [{**LINE, **change}]) == []


@pytest.mark.parametrize("change", [{"score": 2.0}, {"defects": [{}]}, {"mask": {}}])
def test_everything_that_was_judged_is_compared(change):
    assert compare([{**LINE, **change}], [LINE]) == [f"a: {next(iter(change))} changed on the same machine and recipe"]


def on_another_machine(lines):
    for line in lines:
        line["made_on"] = "another processor"
        if line["score"] is not None:
            line["score"] *= 1.01


def test_on_another_machine_verdicts_and_masks_count_and_scores_do_not(results, config, frames, capsys):
    expect(results, on_another_machine)
    assert replayed(config, frames, "--expect", results) == 0


def test_on_another_machine_a_moved_mask_counts(results, config, frames, capsys):
    def change(lines):
        on_another_machine(lines)
        lines[6]["mask"] = {**lines[0]["mask"]}

    expect(results, change)
    assert replayed(config, frames, "--expect", results) == 1
    assert "sub/bar.png: the masks overlap with an IoU of 0.000" in capsys.readouterr().out


def test_a_file_that_is_no_result_is_refused(config, frames, tmp_path, capsys):
    (tmp_path / "other.jsonl").write_text("{}\n")
    assert replayed(config, frames, "--expect", tmp_path / "other.jsonl") == 65
    assert "other.jsonl:1 is not a line of" in capsys.readouterr().err


def test_an_empty_folder_is_said(config, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert replayed(config, tmp_path / "empty") == 66
    assert "holds no image" in capsys.readouterr().err
