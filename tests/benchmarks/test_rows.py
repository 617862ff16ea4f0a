import json

import pytest
from generated import BEGIN, END, marks, write_generated
from jobs import KEY, Job, datasets_below, words_of
from rows import append_row, key_of, latest, read_rows

from engines.errors import NoInputError, UsageError


def job(tmp_path, **changes):
    given = {"dataset": "part", "folder": tmp_path, "seed": 0, "budget": {"steps": 5}, "options": {}}
    return Job(**{**given, **changes})


def test_a_row_that_a_crash_cut_off_is_no_row_and_spoils_no_other(tmp_path):
    path = tmp_path / "rows"
    append_row(path, {"seed": 0})
    path.write_text(path.read_text() + '{"seed": 1, "figu')
    assert read_rows(path) == [{"seed": 0}]
    append_row(path, {"seed": 2})
    assert read_rows(path) == [{"seed": 0}, {"seed": 2}]


def test_numbers_are_kept_to_six_digits(tmp_path):
    append_row(tmp_path / "rows", {"a": [0.123456789, 12345678], "b": {"c": None}})
    assert read_rows(tmp_path / "rows") == [{"a": [0.123457, 12345678], "b": {"c": None}}]


def test_a_figure_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_row(tmp_path / "rows", {"a": float("nan")})
    assert read_rows(tmp_path / "rows") == []


@pytest.mark.parametrize(
    "changes", [{"dataset": "other"}, {"seed": 1}, {"budget": {"minutes": 5}}, {"options": {"rotates": True}}]
)
def test_whatever_was_asked_makes_another_row_and_another_folder(tmp_path, changes):
    one, other = job(tmp_path), job(tmp_path, **changes)
    assert key_of(one.key, KEY) != key_of(other.key, KEY)
    assert one.slug != other.slug


def test_where_the_data_lie_and_the_order_of_options_make_no_other_row(tmp_path):
    one = job(tmp_path, options={"size": "64", "width": "16"})
    other = job(tmp_path / "elsewhere", options={"width": "16", "size": "64"})
    assert key_of(one.key, KEY) == key_of(json.loads(json.dumps(other.key)), KEY)
    assert one.slug == other.slug


def test_of_rows_with_one_key_the_last_counts():
    rows = [{"k": 1, "v": "old"}, {"k": 2, "v": "only"}, {"k": 1, "v": "new"}]
    assert latest(rows, ["k"]) == [rows[2], rows[1]]


def test_options_become_words():
    assert words_of({"minutes": 15.0, "size": "320x192", "rotates": True}) == [
        *("--minutes", "15", "--size", "320x192", "--rotates")
    ]


def test_a_data_set_has_the_same_name_alone_and_among_others(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name / "train" / "good").mkdir(parents=True)
    assert list(datasets_below(tmp_path)) == ["a", "b"]
    assert list(datasets_below(tmp_path / "a")) == ["a"]
    with pytest.raises(NoInputError, match="holds no data set"):
        datasets_below(tmp_path / "a" / "train" / "good")


def test_what_people_wrote_around_the_tables_stays(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"# Page\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for content in ("new", "newer"):
        write_generated(path, content, title="Page")
    assert path.read_text() == f"# Page\n\nbefore\n\n{BEGIN}\n\nnewer\n\n{END}\n\nafter\n"


def test_two_programs_write_their_own_parts_of_a_page(tmp_path):
    path = tmp_path / "page.md"
    (begin, end), between = marks("card"), "\n\nbetween\n\n"
    path.write_text(f"{BEGIN}\nold\n{END}{between}{begin}\nold\n{end}\n")
    write_generated(path, "drawn", title="Page", part="card")
    assert path.read_text() == f"{BEGIN}\nold\n{END}{between}{begin}\n\ndrawn\n\n{end}\n"
    write_generated(path, "new", title="Page")
    assert path.read_text() == f"{BEGIN}\n\nnew\n\n{END}{between}{begin}\n\ndrawn\n\n{end}\n"


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_a_place_for_tables_is_left_alone(tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text)
    with pytest.raises(UsageError, match="no place"):
        write_generated(path, "new", title="Page")
    assert path.read_text() == text
