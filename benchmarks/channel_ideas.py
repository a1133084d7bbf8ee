"""The ideas that channel_attempts.py tries: each makes a small network from a trial."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from channels import Trial
from prefix_pass import prefix_pass
from torch import Tensor, nn
from torch.nn import functional as F

from gfs_tutorial.cnn import PruneReport, prune, prune_with_tolerance
from gfs_tutorial.cnn.allocation import allocate
from gfs_tutorial.cnn.calibration import Calibration
from gfs_tutorial.cnn.checkpoint import Checkpoint
from gfs_tutorial.cnn.curves import measure_curves
from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.cnn.pursuit import BlockCholesky, pursue
from gfs_tutorial.cnn.ranking import Ranking
from gfs_tutorial.cnn.refit import install, refit_weights
from gfs_tutorial.cnn.replay import Replay
from gfs_tutorial.cnn.training import fit, normalize
from gfs_tutorial.cnn.units import Unit

RUNS = Path(__file__).resolve().parents[1] / "runs"
MACS = {"resnet20-cifar10": 0.5, "efficientnet-lite0": 0.55}
SETTINGS = {
    "macs": MACS,
    "tie-break": {"late": 0.25, "candidates": 4, "images": 128},
    "few images": [64, 128],
    "prefix": {"strength": 1e-2, "images": [300, 512, 1000]},  # as many as there are
    "tolerance": {"tolerance": 0.02, "candidates": 25, "batches": 60, "batch_size": 64, "lr": [0.0025, 0.02]},
    "between": {"steps": 39, "batch_size": 128},
}
Made = tuple[nn.Module, dict[str, object]]  # the small network, and what there is to note


class Attempt(Trial):
    """A trial with the result of ``inputs="dense"`` at hand: ideas are tried one at a time beside it."""

    def __init__(self, network: str, seed: int):
        super().__init__(network, seed)
        self.macs = MACS[network]
        self.images = torch.cat([images for images, _ in self.batches])

    @functools.cached_property
    def report(self) -> PruneReport:
        return self.pruned(inputs="dense")[1]

    def pruned(self, **options) -> tuple[nn.Module, PruneReport]:
        return prune(self.model, self.batches, macs=self.macs, seed=self.seed, **options)

    def inputs(self, inputs: str, n: int | None = None) -> Made:
        """Through prune, with consumers chosen and refitted on the dense or the pruned network's inputs."""
        images, options = self.images[:n], {"macs": self.macs, "seed": self.seed, "inputs": inputs}
        return prune(self.model, [images], **options)[0], {"images": len(images)}

    def with_kept(self, kept: dict[str, Tensor]) -> nn.Module:
        """The network with these candidates, refitted on dense inputs."""
        scores = {u.name: torch.zeros(u.size).index_fill(0, kept[u.name], 1.0) for u in self.units}
        counts = {name: len(candidates) for name, candidates in kept.items()}
        options = {"inputs": "dense", "counts": counts, "importance": scores, "seed": self.seed}
        return prune(self.model, self.batches, **options)[0]

    def pruned_units(self) -> list[Unit]:
        return [unit for unit in self.units if len(self.report.kept[unit.name]) < unit.size]

    # Ties of matching pursuit, broken by the whole network

    def tie_break(self, labels: bool) -> Made:
        dense = Calibration(self.model, self.images, seed=self.seed)
        moments, kept = dense.all_moments(split=False), dict(self.report.kept)
        changed = 0
        for unit in self.pruned_units():
            size, judge = len(kept[unit.name]), self._judge(dense.model, unit, moments[unit.consumer], labels)
            kept[unit.name] = _late_picks(unit, moments[unit.consumer], size, judge)
            changed += size - len(set(kept[unit.name].tolist()) & set(self._plain(unit, moments, size)))
        return self.with_kept(kept), {"changed": changed}

    def _plain(self, unit: Unit, moments: dict[str, Moments], size: int) -> list[int]:
        return pursue(unit, moments[unit.consumer], size).picks.tolist()

    @torch.no_grad()
    def _judge(self, model: nn.Module, unit: Unit, moments: Moments, labels: bool) -> Callable:
        """The whole network's loss where this unit keeps some candidates and is refitted."""
        some = SETTINGS["tie-break"]["images"]
        images, y = self.images[:some], self.y[:some]
        replay, consumer = Replay(model, unit.consumer, images), model.get_submodule(unit.consumer)

        @torch.no_grad()
        def judge(kept: Tensor) -> float:
            weight, constant = refit_weights(unit, moments, consumer.weight, kept)
            fitted = copy.copy(consumer)
            fitted._parameters = {
                "weight": nn.Parameter(weight),
                "bias": nn.Parameter(constant.to(weight)),
            }
            logits = replay(fitted.forward(replay.inputs))  # (images, classes)
            return float(F.cross_entropy(logits, y) if labels else F.mse_loss(logits, replay.result))

        return judge

    # Units that are joined by one layer

    def chained(self) -> Made:
        dense = Calibration(self.model, self.images, seed=self.seed)
        moments, kept, chains = dense.all_moments(split=False), dict(self.report.kept), 0
        for unit in reversed(self.pruned_units()):
            own, size = moments[unit.consumer], len(kept[unit.name])
            if unit.consumer in kept and len(kept[unit.consumer]) < own.cross.shape[1]:
                own, chains = _outputs(own, kept[unit.consumer]), chains + 1
            kept[unit.name] = pursue(unit, own, size).kept(size)
        if not chains:
            raise ValueError("no layer joins two units of this network")
        return self.with_kept(kept), {"chains": chains}

    # Curves around the pruned network

    def reallocated(self) -> Made:
        dense = Calibration(self.model, self.images, seed=self.seed)
        moments, curves, kept = dense.all_moments(split=False), {}, self.report.kept
        for unit in self.units:
            around = copy.deepcopy(self.model)
            for other in self.pruned_units():
                if other is not unit:
                    _install(around, other, moments[other.consumer], kept[other.name], dense.norms)
            context = Calibration(around, self.images, seed=self.seed)
            context.units = [unit]
            ranking = Ranking(around, [], "ols", None, "unit", False, True, False)
            curves |= measure_curves(context, ranking, Checkpoint(None, "", {}))
        floor = 0.1 if self.network == "resnet20-cifar10" else 0.04  # the default's
        counts = allocate(curves, self.costs, self.macs, floor=floor)
        moved = sum(abs(counts[name] - len(kept[name])) for name in counts)
        options = {"inputs": "dense", "counts": counts, "seed": self.seed}
        return prune(self.model, self.batches, **options)[0], {"moved": moved}

    # Refits behind the pruned prefix

    def prefix(self, n: int, **options) -> Made:
        images = self.images_for(n)
        strength = SETTINGS["prefix"]["strength"]
        small = prefix_pass(
            self.model, self.units, images, self.report.kept, strength=strength, seed=self.seed, **options
        )
        return small, {"images": len(images)}

    def more(self, n: int) -> Made:
        """The same numbers of channels, chosen and refitted on more images."""
        counts = {name: len(candidates) for name, candidates in self.report.kept.items()}
        options = {"inputs": "dense", "counts": counts, "seed": self.seed}
        return prune(self.model, [self.images_for(n)], **options)[0], {"images": n}

    def images_for(self, n: int) -> Tensor:
        if n <= len(self.images):
            return self.images[:n]
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randperm(len(self.train[1]), generator=generator)[:n]  # begins with those of the trial
        return normalize(self.train[0][rows], **self.normal)

    # The papers' rule

    def tolerance(self, lr: float) -> Made:
        s = SETTINGS["tolerance"]
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randperm(len(self.train[1]), generator=generator)[: s["batch_size"] * s["batches"]]
        X, y = normalize(self.train[0][rows], **self.normal), self.train[1][rows]
        options = {"tolerance": s["tolerance"], "candidates": s["candidates"], "seed": self.seed}
        small, report = prune_with_tolerance(
            self.model,
            list(zip(X.split(s["batch_size"]), y.split(s["batch_size"]))),
            train_between=lambda net: self.steps(net, SETTINGS["between"]["steps"], lr),
            checkpoint=RUNS / f"tolerance-{self.network}-{self.seed}-{lr}.pt",
            progress=False,
            **options,
        )
        steps = len(report.units) * SETTINGS["between"]["steps"]
        return small, {"steps": steps, "initial": report.initial, "final": report.final}

    def steps(self, net: nn.Module, steps: int, lr: float) -> nn.Module:
        size = SETTINGS["between"]["batch_size"]
        seed = int(torch.randint(2**31, ()))  # seeded by the caller
        fit(
            net,
            *self.train,
            **self.normal,
            steps=steps,
            batch_size=size,
            lr=lr,
            generator=torch.Generator().manual_seed(seed),
            progress=False,
        )
        return net

    def then_steps(self, macs: float, inputs: str, steps: int, lr: float) -> Made:
        small, _ = prune(self.model, self.batches, macs=macs, seed=self.seed, inputs=inputs)
        torch.manual_seed(self.seed)
        return self.steps(small, steps, lr), {"steps": steps}


def _late_picks(unit: Unit, moments: Moments, size: int, judge: Callable[[Tensor], float]) -> Tensor:
    """Matching pursuit whose last picks are judged among its best candidates."""
    s, state, picks = SETTINGS["tie-break"], BlockCholesky(unit, moments, size), []
    for step in range(size):
        gains = state.gains()  # (candidates,)
        if step < (1 - s["late"]) * size:
            picks.append(int(gains.argmax()))
        else:
            best = gains.topk(min(s["candidates"], unit.size - step)).indices.tolist()
            picks.append(min(best, key=lambda c: judge(torch.tensor(sorted([*picks, c])))))
        state.add(picks[-1])
    return torch.tensor(picks).sort().values


def _outputs(moments: Moments, kept: Tensor) -> Moments:
    """Moments with some of the outputs alone; their energy, which ranks nothing, stays."""
    return Moments(
        moments.count,
        (moments.origin[0], moments.origin[1][kept]),
        moments.input_sum,
        moments.output_sum[kept],
        moments.inputs,
        moments.cross[:, kept],
        moments.energy,
    )


def _install(model: nn.Module, unit: Unit, moments: Moments, kept: Tensor, norms: dict[str, str]) -> None:
    consumer, norm = model.get_submodule(unit.consumer), norms.get(unit.consumer)
    fitted = refit_weights(unit, moments, consumer.weight, kept)
    install(consumer, *fitted, norm and model.get_submodule(norm))
