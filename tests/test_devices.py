"""The device that the set-up cell picks, and data on it."""

import torch

from gfs_tutorial import load_mnist, pick_device


def test_the_gpu_is_picked_where_there_is_one_and_named(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    assert pick_device() == torch.device("cuda")
    assert capsys.readouterr().out == "Device: GPU (Tesla T4)\n"


def test_the_cpu_is_picked_elsewhere(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == torch.device("cpu")
    assert capsys.readouterr().out == "Device: CPU (torch sees no GPU)\n"


def test_it_is_silent_on_request(capsys):
    pick_device(verbose=False)
    assert capsys.readouterr().out == ""


def test_all_tensors_of_a_data_set_move_together():
    data = load_mnist(train_size=20, test_size=20, source="embedded", verbose=False)
    moved = data.to("meta")
    tensors = {name: value for name, value in vars(moved).items() if isinstance(value, torch.Tensor)}
    assert len(tensors) == 6 and {value.device.type for value in tensors.values()} == {"meta"}
    assert moved.source == data.source and data.X_train.device.type == "cpu"
