"""Rows of handwritten digits.

Chapter *A two-layer net and SGD*.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["show_digits"]


def show_digits(pixels: Tensor, titles: Sequence[str] | None = None, *, columns: int = 10) -> Figure:
    """Draw images of 28 by 28 pixels side by side.

    Args:
        pixels: (n, 784), any range of values.
        titles: One for each image.
        columns: Images in a row.
    """
    rows = -(-len(pixels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(0.64 * columns, 0.9 * rows), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for index, (ax, image) in enumerate(zip(axes.flat, pixels)):
        ax.imshow(image.reshape(28, 28).cpu(), cmap="gray_r", interpolation="nearest")
        if titles is not None:
            ax.set_title(titles[index], fontsize=11, pad=3)
    return figure
