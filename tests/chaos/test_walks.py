"""Faults of every kind at once."""

from chaos.walks import two_recipes, walk_again_and_again


def test_whatever_overlaps_no_part_is_lost_and_the_line_inspects_again(make_line, fitted_recipe, tmp_path):
    line = make_line(recipe=two_recipes(fitted_recipe, tmp_path)).start()
    for row in walk_again_and_again(line, range(2)):
        assert row["violations"] == {}
