"""The command line of the experiments: what it writes, what it refuses, what it teaches."""

import runpy
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import gfs_tutorial
from gfs_tutorial import results
from gfs_tutorial.experiments import mnist, sweep
from gfs_tutorial.experiments.command import STUDIES, main

RESULTS = Path(__file__).parents[1] / "results"
TINY = replace(
    mnist.PRESETS["quick"],
    train_sizes=(60, 100),
    checkpoints=(0, 5),
    widths=(40,),
    sizes=(10,),
    seeds=(0, 1),
    batch_size=20,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(mnist.PRESETS, "quick", TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys, *arguments):
    """What ``--help`` and the like print, as one line."""
    with pytest.raises(SystemExit):
        main(list(arguments))
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).replace("│", " ").split())


def test_it_writes_the_result_with_the_command_that_makes_it(folder, capsys):
    main(["mnist", "--preset", "quick"])
    assert "8 rows" in capsys.readouterr().out
    result = results.read(folder / "results" / "mnist-quick.json")
    assert result["command"] == "python -m gfs_tutorial mnist --preset quick"
    assert len(result["rows"]) == 8 and result["settings"]["widths"] == [40]


def test_the_second_time_it_finds_everything_finished(folder, capsys):
    main(["mnist"])
    capsys.readouterr()
    main(["mnist"])
    assert "4 of 4 cells are finished already" in capsys.readouterr().out


def test_a_changed_setting_needs_a_name_and_is_recorded(folder, capsys):
    with pytest.raises(SystemExit, match=r"--name\n  widths: preset \[40\], now \[20, 30\]"):
        main(["mnist", "--widths", "20", "30"])
    main(["mnist", "--widths", "20", "30", "--seeds", "5", "--name", "narrow"])
    result = results.read(folder / "results" / "narrow.json")
    assert {(row["N"], row["seed"]) for row in result["rows"]} == {(20, 5), (30, 5)}
    assert result["command"] == "python -m gfs_tutorial mnist --widths 20 30 --seeds 5 --name narrow"


def test_stored_results_of_other_settings_are_refused_without_a_traceback(folder):
    main(["mnist", "--seeds", "5", "--name", "mine"])
    with pytest.raises(SystemExit, match=r"settings\.seeds: stored \[5\], now \[6\]"):
        main(["mnist", "--seeds", "6", "--name", "mine"])


def test_no_time_writes_no_result_and_says_how_to_go_on(folder):
    with pytest.raises(SystemExit, match="4 of 4 cells are left; the same command goes on"):
        main(["mnist", "--minutes", "-1"])
    assert not (folder / "results").exists()


def test_an_interrupt_says_how_to_go_on(folder, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "_run_cell", interrupt)
    with pytest.raises(SystemExit, match="the same command goes on"):
        main(["mnist"])


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(SystemExit, match="laptop-digits"):
        main(["mnist", "--preset", "huge"])


def test_help_teaches(capsys):
    overview = shown(capsys, "--help")
    assert all(f"{name} {study.summary}" in overview for name, study in STUDIES.items())
    help_of_laptop = shown(capsys, "mnist", "--preset", "laptop", "--help")
    assert "m: how many images to train on. (default: 1000 2000 4000 8000 15000 60000)" in help_of_laptop
    assert "{squared,logistic}" in help_of_laptop
    assert "Presets: quick, laptop, laptop-wide" in help_of_laptop


def test_no_experiment_and_a_wrong_setting_are_answered(capsys):
    assert "mnist" in shown(capsys)
    assert "sizes" in shown(capsys, "mnist", "--sizes", "many")


def test_a_committed_result_reproduces_from_its_recorded_command(tmp_path, monkeypatch):
    committed = results.stored("variations-quick.json")
    program, switch, module, *arguments = shlex.split(committed["command"])
    assert (program, switch) == ("python", "-m")
    places = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    monkeypatch.chdir(Path(gfs_tutorial.__file__).parents[1])
    monkeypatch.setattr(sys, "argv", [module, *arguments, *places])
    runpy.run_module(module, run_name="__main__", alter_sys=True)  # as python -m does
    again = results.read(tmp_path / "variations-quick.json")
    assert again["settings"] == committed["settings"] and again["data"] == committed["data"]
    assert len(again["rows"]) == len(committed["rows"])
    for row, before in zip(again["rows"], committed["rows"]):
        assert row.keys() == before.keys()
        for key, value in before.items():
            if isinstance(value, float):  # other processors round otherwise, and training amplifies it
                assert row[key] == pytest.approx(value, rel=0.05, abs=0.01), (key, before)
            elif key != "distinct":
                assert row[key] == value
