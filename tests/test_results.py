"""Result files: whole or not at all, and with their history."""

import json

import pytest

from gfs_tutorial import results


def test_what_is_written_is_read_back(tmp_path):
    path = results.write(tmp_path / "new" / "a.json", {"rows": [1, 2.5, None]})
    assert results.read(path) == {"rows": [1, 2.5, None]}


@pytest.mark.parametrize("bad", [{"x": object()}, {"x": float("nan")}])
def test_a_result_that_json_does_not_know_keeps_the_old_file(tmp_path, bad):
    path = results.write(tmp_path / "a.json", {"x": 1})
    with pytest.raises((TypeError, ValueError)):
        results.write(path, bad)
    assert results.read(path) == {"x": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_missing_file_and_a_broken_one_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        results.read(tmp_path / "no.json")
    (tmp_path / "broken.json").write_text('{"rows": [1,')
    with pytest.raises(ValueError, match=r"broken\.json"):
        results.read(tmp_path / "broken.json")


def test_stored_results_are_read_by_name_from_a_checkout_and_from_an_installed_package(tmp_path, monkeypatch):
    assert results.stored("mnist-quick.json")["preset"] == "quick"
    monkeypatch.setattr(results, "__file__", str(tmp_path / "gfs_tutorial" / "results.py"))
    results.write(tmp_path / "gfs_tutorial" / "stored_results" / "a.json", {"rows": []})
    assert results.stored("a.json") == {"rows": []}
    with pytest.raises(FileNotFoundError, match=r"b\.json"):
        results.stored("b.json")


def test_provenance_has_what_it_takes_to_run_again():
    record = results.provenance("python x.py", {"seed": 3}, preset="quick")
    assert record["command"] == "python x.py" and record["settings"] == {"seed": 3}
    assert record["preset"] == "quick" and "cores" in record["hardware"]
    assert {"commit", "versions", "date"} <= record.keys()
    json.dumps(record)
