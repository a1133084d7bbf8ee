"""The slowest obvious greedy forward selection: every candidate's loss, from the definition."""

import torch


def features(hidden, output_weights):
    """Feature vectors of all neurons, (N, m, C): activation times output weight."""
    return torch.einsum("mn,nc->nmc", hidden, output_weights)


def loss(prediction, targets):
    return float(((prediction - targets) ** 2).sum() / (2 * len(targets)))


def losses_of(predictions, targets):
    """:func:`loss` of each of the predictions (candidates, m, C)."""
    return (((predictions - targets) ** 2).sum((1, 2)) / (2 * len(targets))).tolist()


def brute_force(hidden, output_weights, targets, size, with_replacement=True, tie=1e-12):
    """Indices and losses; ties, to within ``tie`` of the labels' own loss, go to the lowest index."""
    phi = features(hidden, output_weights)  # (N, m, C)
    slack = tie * (loss(torch.zeros_like(targets), targets) + float(phi.square().sum((1, 2)).mean()))
    total, indices, losses = torch.zeros_like(targets), [], []
    for k in range(1, size + 1):
        candidates = losses_of((total + phi) / k, targets)
        if not with_replacement:
            candidates = [float("inf") if i in indices else value for i, value in enumerate(candidates)]
        lowest = min(candidates)
        best = next(i for i, value in enumerate(candidates) if value <= lowest + slack / k)
        indices.append(best)
        losses.append(candidates[best])
        total = total + phi[best]
    return indices, losses


def brute_force_backward(hidden, output_weights, targets, tie=1e-12):
    """Neurons in the order in which they are removed; ties, to within ``tie``, remove the highest index."""
    phi = features(hidden, output_weights)  # (N, m, C)
    slack = tie * (loss(torch.zeros_like(targets), targets) + float(phi.square().sum((1, 2)).mean()))
    left, removed = list(range(len(phi))), []
    while len(left) > 1:
        losses = {i: loss(phi[[j for j in left if j != i]].mean(0), targets) for i in left}
        lowest = min(losses.values())
        worst = max(i for i in left if losses[i] <= lowest + slack)
        left.remove(worst)
        removed.append(worst)
    return removed + left
