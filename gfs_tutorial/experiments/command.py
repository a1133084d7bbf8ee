"""The command line of the experiments, made from their dataclasses of settings."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict, dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from gfs_tutorial import results
from gfs_tutorial.cnn.distributed import PreemptedError
from gfs_tutorial.experiments import cifar10, imagenet, methods, mnist, sweep, variations
from gfs_tutorial.experiments.mnist_data import MissingError
from gfs_tutorial.experiments.store import FolderInUseError, SettingsMismatchError, differences
from gfs_tutorial.experiments.together import TogetherError, joined

__all__ = ["STUDIES", "Run", "main"]

S = TypeVar("S")
STUDIES: dict[str, sweep.Study[Any]] = {
    study.name: study
    for study in (mnist.STUDY, methods.STUDY, variations.STUDY, cifar10.STUDY, imagenet.STUDY)
}
DESCRIPTION = """Run an experiment of the book and write its results, with the record of how they were made.

* python -m gfs_tutorial mnist: a minute, on the images that come with the book.
* python -m gfs_tutorial mnist --preset laptop: an hour or two, on all of MNIST. Stop it or kill it at any
  time: the same command goes on where it was.
* python -m gfs_tutorial mnist --preset paper: the papers' scale and beyond, on a GPU. We have not run it yet.
* python -m gfs_tutorial cifar10: two minutes, a convolutional network on digits in colours.
* python -m gfs_tutorial cifar10 --preset laptop-narrow: an hour and a half of one core, on CIFAR-10.
* torchrun --nproc_per_node 8 -m gfs_tutorial imagenet --preset paper: on all GPUs of a machine.
* python -m gfs_tutorial mnist --sizes 50 --name small: a preset with a setting of your own.
* python -m gfs_tutorial mnist --preset laptop --help: every setting, and what it is in that preset.
"""


@dataclass(frozen=True)
class Run(Generic[S]):
    """What the command line says.

    Attributes:
        settings: All that the result depends on. The defaults shown are those of the preset.
        preset: Where the settings start, see above. Name one beside --help to see its settings.
        name: Of the run; names its folder and its result file. Needed where you change a setting.
        runs: Finished cells go to a folder in here at once; a run that was killed goes on from them.
        out: The folder for the result file.
        minutes: Start no further cell after so many minutes; the same command goes on later.
        so_far: Run nothing: write the result file from the finished cells. It says how many are left.
    """

    settings: tyro.conf.OmitArgPrefixes[S]
    preset: str = "quick"
    name: str | None = None
    runs: Path = Path("runs")
    out: Path = Path("results")
    minutes: float | None = None
    so_far: bool = False


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, run the experiment, write its result file."""
    arguments = sys.argv[1:] if arguments is None else arguments
    study, chosen = _parse(arguments)
    changed = differences(asdict(study.preset(chosen.preset)), asdict(chosen.settings))
    if changed and chosen.name is None:
        lines = "\n  ".join(line.replace("stored", "preset") for line in changed)
        raise SystemExit(f"the settings are not those of the preset {chosen.preset!r}: add --name\n  {lines}")
    name = chosen.name or f"{study.name}-{chosen.preset}"
    command = shlex.join(["python", "-m", "gfs_tutorial", *arguments]) if changed else None
    folder = chosen.runs / name
    try:
        with joined(study.at_scale) as rank:
            result = _result(study, chosen, command, folder)
    except (FolderInUseError, MissingError, SettingsMismatchError, TogetherError) as error:
        raise SystemExit(f"{error}") from None
    except PreemptedError as error:
        raise SystemExit(f"{error}; the same command goes on") from None
    except sweep.UnfinishedError as error:
        why = "not yet" if chosen.so_far else "time is up"
        raise SystemExit(f"{why}: {error}; the same command goes on") from None
    except KeyboardInterrupt:
        raise SystemExit(f"stopped: finished cells are in {folder}, the same command goes on") from None
    if rank > 0:
        return
    path = results.write(chosen.out / f"{name}.json", result)
    print(f"{len(result['rows'])} rows in {result['seconds']:.0f} s, written to {path}")


def _result(study: sweep.Study[Any], chosen: Run[Any], command: str | None, folder: Path) -> dict[str, Any]:
    return sweep.run(
        study,
        chosen.settings,
        preset=chosen.preset,
        command=command,
        folder=folder,
        minutes=chosen.minutes,
        so_far=chosen.so_far,
    )


def _parse(arguments: list[str]) -> tuple[sweep.Study[Any], Run[Any]]:
    """Which study, and the run. A first look finds the preset: its settings are the defaults of the rest."""
    look = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    look.add_argument("--preset", default="quick")
    preset = look.parse_known_args(arguments)[0].preset
    asked = next((STUDIES[word] for word in arguments if word in STUDIES), None)
    if asked is not None and preset not in asked.presets:
        raise SystemExit(f"unknown preset {preset!r}: {asked.name} has {', '.join(asked.presets)}")
    subcommands: list[Any] = [
        Annotated[
            Run[type(study.preset("quick"))],  # type: ignore[misc]  # tyro reads it while the program runs
            tyro.conf.subcommand(
                name,
                default=Run(study.presets.get(preset, study.preset("quick")), preset),
                description=f"{study.summary} Presets: {', '.join(study.presets)}.",
            ),
        ]
        for name, study in STUDIES.items()
    ]
    kinds: Any = reduce(or_, subcommands)
    chosen = tyro.cli(kinds, prog="python -m gfs_tutorial", description=DESCRIPTION, args=arguments)
    assert asked is not None  # else tyro has ended the program
    return asked, chosen
