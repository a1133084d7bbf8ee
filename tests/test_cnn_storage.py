"""Pruned models saved, loaded and exported."""

import pytest
import torch
from test_cnn_units import MODELS, UserNet, instance
from torch import nn

from gfs_tutorial.cnn.export import export_onnx
from gfs_tutorial.cnn.storage import load_pruned, save_pruned, save_tensors
from gfs_tutorial.cnn.surgery import slice_units


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_a_pruned_model_comes_back_as_it_was(name, tmp_path):
    model, x, units, kept = instance(name)
    small = slice_units(model, units, kept)
    save_pruned(tmp_path / "small.pt", small, units, kept, architecture=name)
    again, notes = load_pruned(tmp_path / "small.pt", MODELS[name][0]().double())
    assert torch.equal(again(x), small(x))
    assert notes == {"architecture": name}


@torch.no_grad()
def test_a_bias_that_a_refit_added_is_kept(tmp_path):
    model, x, units, kept = instance("user")
    small = slice_units(model, units, kept)
    small.conv2.bias = nn.Parameter(torch.randn(3).double())
    save_pruned(tmp_path / "small.pt", small, units, kept)
    again, _ = load_pruned(tmp_path / "small.pt", UserNet().double())
    assert torch.equal(again(x), small(x))


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_large", "regnet_y_400mf", "efficientnet_lite0", "user"]
)
@torch.no_grad()
def test_onnxruntime_gives_the_same_outputs_for_any_batch(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, x, units, kept = instance(name, torch.float32)
    small = slice_units(model, units, kept)
    path = export_onnx(small, x, tmp_path / "small.onnx")
    session = onnxruntime.InferenceSession(path)
    for batch in (x, torch.randn(5, *x.shape[1:])):
        (output,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(output), small(batch), rtol=1e-3, atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["small.onnx"]


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_torch_export_gives_the_same_outputs(name):
    model, x, units, kept = instance(name)
    small = slice_units(model, units, kept)
    torch.testing.assert_close(torch.export.export(small, (x,)).module()(x), small(x))


def test_export_wants_two_images(tmp_path):
    with pytest.raises(ValueError, match="two images"):
        export_onnx(UserNet(), torch.randn(1, 3, 8, 8), tmp_path / "x.onnx")


def test_files_that_are_missing_broken_foreign_or_of_another_model_are_refused(tmp_path):
    model, _, units, kept = instance("user")
    small = slice_units(model, units, kept)
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        load_pruned(tmp_path / "none.pt", model)
    path = save_pruned(tmp_path / "small.pt", small, units, kept)
    with pytest.raises(ValueError, match="does not fit this Sequential"):
        load_pruned(path, nn.Sequential(nn.Conv2d(3, 2, 1)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="truncated"):
        load_pruned(path, model)
    torch.save({"weight": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="no file of save_pruned"):
        load_pruned(path, model)


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = save_tensors(tmp_path / "a.pt", {"x": torch.ones(1)})

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gfs_tutorial.cnn.storage.torch.save", no_space)
    with pytest.raises(OSError, match="No space"):
        save_tensors(path, {"x": torch.zeros(1)})
    monkeypatch.undo()
    assert torch.load(path, weights_only=True) == {"x": torch.ones(1)}
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
