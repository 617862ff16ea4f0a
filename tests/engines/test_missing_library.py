import sys

from engines import command_line


def test_a_missing_library_is_named_with_the_extra_that_brings_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "needs_much.py").write_text("import library_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert command_line.run_command("edge-test", "about", {"go": "needs_much"}, ["go"]) == 69
    assert "edge-test go: needs library_that_is_not_there, which is not installed. Run: pip install" in (
        capsys.readouterr().err
    )
    assert "needs_much" not in sys.modules
