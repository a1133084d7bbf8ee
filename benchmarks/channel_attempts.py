"""What else might help to prune channels: ideas tried one at a time beside ``prune(inputs="dense")``.

    GFS_DATA_ROOT=... python benchmarks/channel_attempts.py [--network NAME] [--only REGEX] [--seeds 1]

Networks, images and seeds are those of channels.py. A finished row is written at once, and a second start
goes on where the first one stopped.

    inputs dense | pruned         prune(model, images, macs=..., inputs=...)
    inputs ..., n images          the same with fewer of them
    tie-break, loss | logits      the last quarter of matching pursuit's picks: the best of its four best
                                  candidates by the whole network's loss | distance from the dense logits
    chained units                 where one unit's consumer makes the next unit's channels, the first is
                                  chosen for the channels kept of the second alone
    reallocated                   error curves measured again around the pruned network, then rebuilt
    prefix, ..., n images         the parts of inputs="pruned" (prefix_pass.py): with or without correction of
                                  the residual stream and new selection
    same counts, n images         inputs="dense" beside them
    tolerance, lr                 the papers' rule, with a tenth of an epoch on labels after each unit
    ..., then lr, as tolerance    prune at the MACs that came of it, as many steps at the end
"""

from __future__ import annotations

import argparse
import functools
import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from channel_ideas import MACS, SETTINGS, Attempt, Made
from channels import Row, table

from gfs_tutorial import results
from gfs_tutorial.cnn import count_macs

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmark-channel-attempts.json"


def attempts(trial: Attempt, rows: list[Row]) -> Iterator[tuple[str, Callable[[], Made]]]:
    """Name of each attempt and how it is made. ``rows`` are those done so far."""
    for inputs in ("dense", "pruned"):
        yield f"inputs {inputs}", lambda inputs=inputs: trial.inputs(inputs)
    for n, inputs in itertools.product(SETTINGS["few images"], ("dense", "pruned")):
        yield f"inputs {inputs}, {n} images", functools.partial(trial.inputs, inputs, n)
    if hasattr(trial, "train"):
        for what in ("loss", "logits"):
            yield f"tie-break, {what}", lambda what=what: trial.tie_break(what == "loss")
    yield "chained units", trial.chained
    yield "reallocated", trial.reallocated
    if hasattr(trial, "train"):
        yield from prefixes(trial)
        for lr in SETTINGS["tolerance"]["lr"]:
            yield f"tolerance, {lr}", lambda lr=lr: trial.tolerance(lr)
            yield from ends(trial, f"tolerance, {lr}", rows)


def prefixes(trial: Attempt) -> Iterator[tuple[str, Callable[[], Made]]]:
    """The parts of a refit behind the prefix, at the same counts, with more and more images."""
    parts = {
        "inputs alone": {"correct": False, "reselect": False},
        "corrected": {"reselect": False},
        "corrected, selected again": {},
    }
    for n in SETTINGS["prefix"]["images"]:
        yield f"same counts, {n} images", lambda n=n: trial.more(n)
        for words, options in parts.items():
            yield f"prefix, {words}, {n} images", lambda n=n, options=options: trial.prefix(n, **options)


def ends(trial: Attempt, name: str, rows: list[Row]) -> Iterator[tuple[str, Callable[[], Made]]]:
    """``prune`` at the MACs that the tolerance led to, then as many steps as there were in between."""
    key = (trial.network, trial.seed, name)
    for row in rows:
        if (row["network"], row["seed"], row["variant"]) == key:
            for inputs, lr in itertools.product(("dense", "pruned"), SETTINGS["tolerance"]["lr"]):
                yield (
                    f"inputs {inputs}, then {lr}, as {name}",
                    functools.partial(trial.then_steps, row["kept_macs"], inputs, row["steps"], lr),
                )


def done_so_far() -> dict:
    return results.read(OUT) if OUT.exists() else {"rows": [], "data": {}}


def run(network: str, seed: int, only: str, threads: int) -> None:
    """Make what is not done yet; write each row at once."""
    trial, key = Attempt(network, seed), ("network", "seed", "macs", "variant")
    for name, make in attempts(trial, done_so_far()["rows"]):
        values, done = (network, seed, trial.macs, name), done_so_far()["rows"]
        if not re.search(only, name) or any(tuple(row[k] for k in key) == values for row in done):
            continue
        start = time.perf_counter()
        try:
            small, notes = make()
        except ValueError as reason:
            print(f"{name} left out: {reason}", flush=True)
            continue
        row = dict(zip(key, values)) | {"seconds": time.perf_counter() - start} | notes
        row["kept_macs"] = count_macs(small, trial.images[:1]) / trial.costs.dense
        row["accuracy"] = trial.accuracy(small)
        stored = done_so_far()  # read again: another process may have added to it
        record = results.provenance(
            "GFS_DATA_ROOT=... python benchmarks/channel_attempts.py", {**SETTINGS, "threads": threads}
        )
        machine = {"hardware": record["hardware"], "torch": record["versions"]["torch"]}
        stored["rows"].append(row | machine)
        stored["data"][network] = trial.source
        results.write(OUT, {**record, **{key_: stored[key_] for key_ in ("data", "rows")}})
        print(f"{network} seed {seed} {name}: {row['accuracy']:.4f} ({row['seconds']:.0f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=tuple(MACS), action="append")
    parser.add_argument("--only", default="", help="attempts whose names match this")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for network in options.network or MACS:
        for seed in range(options.seeds):
            run(network, seed, options.only, options.threads)
    print(table(done_so_far()["rows"]))


if __name__ == "__main__":
    main()
