"""Running only the rest of a network: what came before a layer, and what does not depend on it, is kept.

One forward pass is recorded below the level of modules, as the tensor operations that torch dispatches.
Those that depend on the layer's output, directly or through memory that they share, form the tape; every
other tensor that they read is kept as it was. Playing the tape with another output of the layer gives what
the network would have answered. So shared modules, functional operations, in-place activations and networks
that torch.fx cannot trace are no special cases.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gfs_tutorial.cnn.tape import Tape, forget_early

__all__ = ["Replay", "evaluation_mode"]


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Within the context ``model`` is in evaluation mode; each module's own mode comes back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield model.eval()
    finally:
        for module, mode in modes:
            module.training = mode


class Replay:
    """The rest of a network behind one layer, for one batch of images.

    ``replay(output)`` takes an output of the layer, of the shape that it had in the recorded pass, and
    returns what the network makes of it. The network is not run again and not changed; its weights must stay
    as they were when it was recorded, and gradients are not followed.

    Args:
        model: The network; it is recorded in evaluation mode and left as it was.
        layer: Name of a layer that runs once in a forward pass.
        images: What the network accepts, on its device.
        until: Name of a layer behind ``layer``: stop at its input and return that. ``None`` goes on to the
            network's output.

    Attributes:
        inputs: What the layer read, (n, C, H, W) or (n, C).
        result: What the recorded pass gave: the network's output, or the input of ``until``.

    Raises:
        ValueError: ``layer`` or ``until`` does not exist or does not run, or the result does not depend on
            it.
        RuntimeError: the layer runs more than once, or the network does what no tape can repeat, such as
            deciding by the value of a tensor.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, layer: str, images: Tensor, *, until: str | None = None):
        tape = Tape(model)
        start = _submodule(model, layer).register_forward_hook(
            lambda _, inputs, output: self._start(tape, layer, inputs[0], output)
        )
        try:
            with evaluation_mode(model), tape, _stopping_at(model, until):
                self.result = model(images)
                if until is not None:
                    raise ValueError(f"layer {until} does not run in a forward pass of the model")
        except _Stopped as stopped:
            self.result = stopped.tensor
        finally:
            start.remove()
        if not tape.on:
            raise ValueError(f"layer {layer} does not run in a forward pass of the model, or too late")
        if not isinstance(self.result, Tensor) or self.result not in tape.slots:
            kind = type(self.result).__name__
            raise ValueError(f"the model must return a tensor that depends on layer {layer}, got a {kind}")
        self._last, self._steps = tape.slots[self.result], tape.steps
        self._kept, self._written = tape.kept, tape.written
        forget_early(self._steps, self._last)

    def _start(self, tape: Tape, layer: str, inputs: Tensor, output: Tensor) -> None:
        if tape.on:
            raise RuntimeError(f"layer {layer} runs more than once in a forward pass")
        self.inputs = inputs.clone()
        self._like = (output.shape, output.stride(), output.dtype)
        tape.start(output)

    @torch.no_grad()
    def __call__(self, output: Tensor) -> Tensor:
        """The network's output, or the input of ``until``, where the layer gives ``output``."""
        shape, stride, dtype = self._like
        if output.shape != shape or output.dtype != dtype:
            raise ValueError(
                f"output must be {tuple(shape)} {dtype}, got {tuple(output.shape)} {output.dtype}"
            )
        if (
            output.stride() != stride
        ):  # the tape has views, which need the memory layout that they were made on
            output = torch.empty_strided(shape, stride, dtype=dtype, device=output.device).copy_(output)
        values = {0: output, **self._kept}
        for slot in self._written & values.keys():  # in-place operations must not reach what is kept
            values[slot] = values[slot].clone()
        for step in self._steps:
            step.run(values)
        return values[self._last]


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f"the model has no layer {name!r}") from error


class _Stopped(Exception):
    """Ends a forward pass early."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


@contextlib.contextmanager
def _stopping_at(model: nn.Module, layer: str | None) -> Iterator[None]:
    """Within the context a forward pass ends with :class:`_Stopped` where it comes to ``layer``."""

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise _Stopped(inputs[0])

    hook = None if layer is None else _submodule(model, layer).register_forward_pre_hook(stop)
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()
