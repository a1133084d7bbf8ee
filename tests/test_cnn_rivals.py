"""Rival criteria: their scores by hand where that is easy, and their global ranking."""

import copy

import pytest
import torch
import torch_pruning as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cnn_units import UserNet, instance
from torch import nn
from torch_pruning.pruner import importance as shipped

from gfs_tutorial.cnn.cost import MacModel, count_macs
from gfs_tutorial.cnn.models.resnet_cifar import ResNetCifar
from gfs_tutorial.cnn.prune import prune
from gfs_tutorial.cnn.rivals import RIVALS, global_candidates, rival_scores
from gfs_tutorial.cnn.surgery import slice_units
from gfs_tutorial.cnn.units import find_units


@pytest.fixture(scope="module")
def small():
    model, x, units, _ = instance("mobilenet_v2", torch.float32)
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(4, 3, 32, 32, generator=generator), torch.tensor([0, 1, 2, 3])) for _ in range(2)]
    return model, x, units, batches


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_scores_every_candidate_and_leaves_the_model_alone(name, small):
    model, _, units, batches = small
    state = copy.deepcopy(model.state_dict())
    scores = rival_scores(name, model, units, batches)
    assert {key: len(value) for key, value in scores.items()} == {unit.name: unit.size for unit in units}
    assert all(bool(torch.isfinite(value).all()) and float(value.std()) > 0 for value in scores.values())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())


def test_every_importance_that_torch_pruning_ships_is_a_rival():
    classes = {c for c in vars(shipped).values() if isinstance(c, type) and issubclass(c, shipped.Importance)}
    names = {"Importance", "MagnitudeImportance", "TaylorImportance", "HessianImportance"}  # base and aliases
    assert {type(make()) for make in RIVALS.values()} == {c for c in classes if c.__name__ not in names}


@pytest.fixture(scope="module")
def residual():
    """A tiny residual net without biases, which every rival can score."""
    torch.manual_seed(0)
    model = ResNetCifar(1, (8, 12, 16)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    batches = [(torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])) for _ in range(2)]
    return model, batches[0][0], find_units(model, batches[0][0]), batches


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_prunes_to_our_counts_and_in_the_global_mode(name, residual):
    model, x, units, batches = residual
    scores = rival_scores(name, model, units, batches)
    costs = MacModel(model, units, x)
    counts = {unit.name: max(1, unit.size // 3) for unit in units}
    pruned, report = prune(model, batches, counts=counts, importance=scores, refit=False)
    for unit in units:
        best = scores[unit.name].argsort(descending=True, stable=True)[: counts[unit.name]]
        assert torch.equal(report.kept[unit.name], best.sort().values)
    kept = global_candidates(scores, costs, 0.6)
    assert count_macs(slice_units(model, units, kept), x) <= 0.6 * costs.dense
    assert count_macs(pruned, x) == pytest.approx(costs.total(counts))


@pytest.mark.parametrize("name", ["l1", "l2", "fpgm", "bn-scale"])
def test_the_global_mode_is_that_of_torch_pruning(name, residual):
    """Its own pruner, kept away from all layers but those of our units, removes the same channels."""
    model, x, units, _ = residual
    ours = {part.name for unit in units for part in unit.parts if part.role in ("out", "depthwise")}
    pruner = tp.pruner.BasePruner(
        copy.deepcopy(model), x, RIVALS[name](), global_pruning=True, pruning_ratio=0.6
    )
    theirs = dict(pruner.model.named_modules())
    layers = [n for n, m in theirs.items() if isinstance(m, (nn.Conv2d, nn.Linear))]
    pruner.ignored_layers = [theirs[n] for n in layers if n not in ours]
    names = {layer: n for n, layer in theirs.items()}
    gone = {names[group[0].dep.target.module]: group[0].idxs for group in pruner.step(interactive=True)}
    kept = {
        unit.name: torch.tensor(sorted(set(range(unit.size)) - set(gone.get(unit.name, []))))
        for unit in units
    }
    costs = MacModel(model, units, x)
    share = costs.total({n: len(candidates) for n, candidates in kept.items()}) / costs.dense
    found = global_candidates(rival_scores(name, model, units, [x]), costs, share + 1e-9)
    assert share < 0.9
    assert all(torch.equal(found[n], kept[n]) for n in kept)


def test_activation_ranks_by_the_mean_size_of_the_consumers_input():
    model, x, units, _ = instance("resnet18", torch.float32)
    scores = rival_scores("activation", model, units, [x])
    seen = []
    hook = model.get_submodule("layer1.0.conv2").register_forward_pre_hook(lambda m, i: seen.append(i[0]))
    model(x)
    hook.remove()
    expected = seen[0].abs().mean((0, 2, 3))
    torch.testing.assert_close(
        scores["layer1.0.conv1"].float(), expected / expected.mean(), rtol=1e-4, atol=1e-6
    )


def test_activation_does_not_depend_on_how_images_are_batched(residual):
    model, x, units, _ = residual
    whole, parts = (rival_scores("activation", model, units, batches) for batches in ([x], [x[:1], x[1:]]))
    for name, scores in whole.items():
        torch.testing.assert_close(parts[name], scores, rtol=1e-5, atol=0)


def test_the_random_rival_follows_its_seed(small):
    model, _, units, batches = small
    one, again, other = (rival_scores("random", model, units, batches, seed=seed) for seed in (1, 1, 2))
    name = units[3].name
    assert torch.equal(one[name], again[name]) and not torch.equal(one[name], other[name])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), macs=st.floats(0.15, 1.0), levels=st.integers(1, 50))
def test_the_global_ranking_keeps_the_best_of_each_unit_and_as_many_as_fit(seed, macs, levels):
    generator = torch.Generator().manual_seed(seed)
    units = find_units(UserNet().eval(), torch.randn(1, 3, 8, 8))
    costs = MacModel(UserNet(), units, torch.randn(1, 3, 8, 8))
    scores = {u.name: torch.randint(levels, (u.size,), generator=generator).double() for u in units}
    kept = global_candidates(scores, costs, macs)
    counts = {name: len(candidates) for name, candidates in kept.items()}
    assert costs.total(counts) <= macs * costs.dense
    for name, candidates in kept.items():
        gone = sorted(set(range(len(scores[name]))) - set(candidates.tolist()))
        assert all(float(scores[name][g]) <= float(scores[name][candidates].min()) for g in gone)
    one_more = [{**counts, n: c + 1} for n, c in counts.items() if c < len(scores[n])]
    assert macs == 1.0 or any(costs.total(c) > macs * costs.dense for c in one_more)


@pytest.mark.parametrize(
    ("rival", "network", "reason"),
    [
        ("fpgm", "regnet_x_400mf", "FPGMImportance cannot score"),
        ("obdc", "vgg", "OBDCImportance cannot score features.0"),
        ("obdc", "mobilenet_v3_large", "OBDCImportance cannot score"),
        ("obdc", "efficientnet_lite0", "OBDCImportance cannot watch"),
    ],
)
def test_what_torch_pruning_cannot_compute_is_an_error(rival, network, reason):
    model, x, units, _ = instance(network, torch.float32)
    with pytest.raises(ValueError, match=reason):
        rival_scores(rival, model, units, [(x, torch.tensor([0, 1]))])


@pytest.mark.parametrize(
    ("name", "batches", "message"),
    [
        ("magic", [torch.randn(2, 3, 8, 8)], "unknown name 'magic'"),
        ("l1", [], "batches is empty"),
        ("taylor", [torch.randn(2, 3, 8, 8)], "taylor needs labels"),
        ("obdc", [(torch.randn(2, 3, 8, 8), torch.tensor([0, 1]))], "OBDCImportance cannot score conv1"),
    ],
)
def test_what_cannot_be_scored_is_refused(name, batches, message):
    model = UserNet().eval()
    units = find_units(model, torch.randn(1, 3, 8, 8))
    with pytest.raises(ValueError, match=message):
        rival_scores(name, model, units, batches)


@pytest.mark.parametrize("macs", [0, 1.5, 0.01])
def test_a_global_budget_that_cannot_be_met_is_refused(macs):
    model = UserNet().eval()
    units = find_units(model, torch.randn(1, 3, 8, 8))
    costs = MacModel(model, units, torch.randn(1, 3, 8, 8))
    with pytest.raises(ValueError, match="macs"):
        global_candidates({u.name: torch.rand(u.size) for u in units}, costs, macs)
