"""Networks for ImageNet: each from finding units to an exported file; published weights and checksums."""

import hashlib
import pickle
from types import SimpleNamespace

import pytest
import torch
from test_cnn_units import enliven
from torch import nn

from gfs_tutorial.cnn import export_onnx, find_units, load_pruned, prune, save_pruned
from gfs_tutorial.cnn.cost import count_parameters
from gfs_tutorial.cnn.models import IMAGENET, build_imagenet, imagenet, load_pretrained, published_accuracy
from gfs_tutorial.cnn.models.weight_files import load_weights
from gfs_tutorial.cnn.reinitialise import reinitialised

# As torchvision and the authors publish them.
PARAMETERS = {
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "mobilenet-v2": 3_504_872,
    "mobilenet-v3-large": 5_483_032,
    "proxylessnas-mobile": 4_080_512,
    "efficientnet-lite0": 4_652_008,
}


@pytest.mark.parametrize("name", IMAGENET)
@torch.no_grad()
def test_an_architecture_from_its_units_to_an_exported_file(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = build_imagenet(name, seed=0)
    assert count_parameters(model) == PARAMETERS[name]
    torch.manual_seed(0)
    enliven(model)
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    units = find_units(model, images[:1])
    small, report = prune(model, [images], macs=0.2, allocation="uniform", inputs="dense")
    assert report.macs[1] <= 0.2 * report.macs[0] and report.parameters[1] < report.parameters[0]
    save_pruned(tmp_path / "small.pt", small, units, report.kept, architecture=name)
    again, notes = load_pruned(tmp_path / "small.pt", build_imagenet(name, seed=1))
    assert torch.equal(again(images), small(images)) and notes == {"architecture": name}
    session = onnxruntime.InferenceSession(export_onnx(again, images[:2], tmp_path / "small.onnx"))
    for batch in (images, images[:2]):
        (answers,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        expected = small(batch)
        assert float((torch.from_numpy(answers) - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_the_seed_decides_the_weights():
    first, same, other = (
        build_imagenet("mobilenet-v2", seed=seed).classifier[1].weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)
    with pytest.raises(ValueError, match="unknown name 'vgg'"):
        build_imagenet("vgg")


def test_published_accuracies_are_torchvisions():
    assert published_accuracy("resnet34") == (73.314, 91.42)
    assert published_accuracy("proxylessnas-mobile") is None


# Weights


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A data root and a cache, both empty."""
    root, cache = tmp_path / "root", tmp_path / "hub"
    (root / "weights").mkdir(parents=True)
    monkeypatch.setenv("GFS_DATA_ROOT", str(root))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(cache))
    return SimpleNamespace(root=root / "weights", cache=cache / "checkpoints", elsewhere=tmp_path)


def checksum(path, algorithm="sha256"):
    return hashlib.new(algorithm, path.read_bytes()).hexdigest()


def refuse(path):
    raise OSError("no network here")


def test_weights_come_from_the_data_root_then_from_a_download_that_is_kept(places):
    made = places.elsewhere / "w.pt"
    torch.save({"w": torch.ones(2)}, made)
    digest, downloads = checksum(made), []

    def download(path):
        downloads.append(path)
        path.write_bytes(made.read_bytes())

    for _ in range(2):
        state, source = load_weights("w.pt", digest[:8], download)
        assert torch.equal(state["w"], torch.ones(2)) and source == "w.pt"
    assert len(downloads) == 1 and [path.name for path in places.cache.iterdir()] == ["w.pt"]
    torch.save({"w": torch.zeros(2)}, places.root / "w.pt")
    state, _ = load_weights("w.pt", checksum(places.root / "w.pt"), refuse)
    assert torch.equal(state["w"], torch.zeros(2))


def test_a_file_with_another_checksum_is_refused_and_not_kept(places):
    (places.root / "w.pt").write_bytes(b"something else")
    with pytest.raises(ValueError, match="its sha256 is"):
        load_weights("w.pt", "0123abcd", refuse)
    (places.root / "w.pt").unlink()
    with pytest.raises(ValueError, match="its sha1 is"):
        load_weights("w.pt", "0123abcd", lambda path: path.write_bytes(b"damaged"), algorithm="sha1")
    assert not list(places.cache.iterdir())


def test_without_a_network_the_error_says_where_to_put_the_file(places):
    with pytest.raises(FileNotFoundError, match=r"no network here.*weights/ of the data root"):
        load_weights("w.pt", "0123abcd", refuse)


def test_foreign_code_in_a_file_of_weights_does_not_run(places):
    path = places.root / "w.pt"
    torch.save({"w": SimpleNamespace()}, path)
    with pytest.raises(pickle.UnpicklingError, match=r"(?i)weights.only"):
        load_weights("w.pt", checksum(path), refuse)


def test_torchvisions_weights_are_downloaded_by_the_checksum_in_their_name(places, monkeypatch):
    model = build_imagenet("mobilenet-v2", seed=3)
    made = places.elsewhere / "made.pth"
    torch.save(model.state_dict(), made)
    published = places.elsewhere / f"mobilenet_v2-{checksum(made)[:8]}.pth"
    made.rename(published)
    entry = SimpleNamespace(url=published.as_uri())
    monkeypatch.setattr(imagenet, "_catalogue", lambda name: entry)
    trained = load_pretrained("mobilenet-v2")
    assert torch.equal(trained.model.classifier[1].weight, model.classifier[1].weight)
    assert (trained.resample, trained.source) == ("bilinear", f"torchvision, {published.name}")
    (places.cache / published.name).write_bytes(b"damaged later")
    with pytest.raises(ValueError, match="remove it"):
        load_pretrained("mobilenet-v2")


def test_proxylessnas_has_its_weights_from_pytorchcv(places, monkeypatch):
    store = pytest.importorskip("pytorchcv.models.common.model_store")
    model = build_imagenet("proxylessnas-mobile", seed=3)
    made = places.root / "made.pth"
    torch.save(model.state_dict(), made)
    digest = checksum(made, "sha1")
    made.rename(places.root / f"proxylessnas_mobile-0752-{digest[:8]}.pth")
    monkeypatch.setattr(store, "get_model_name_suffix_data", lambda name: ("0752", digest, "v0"))
    assert torch.equal(load_pretrained("proxylessnas-mobile").model.output.weight, model.output.weight)


# New weights in an old shape


def test_new_weights_in_the_same_shape():
    small = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(5, 2))
    nn.init.uniform_(small[1].running_mean)
    torch.manual_seed(0)
    fresh, drawn = reinitialised(small, seed=1), torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert not fresh[1].running_mean.any() and small[1].running_mean.all()
    assert (
        not torch.equal(fresh[0].weight, small[0].weight) and fresh[0].weight.shape == small[0].weight.shape
    )
    assert torch.equal(fresh[4].weight, reinitialised(small, seed=1)[4].weight)
    assert not torch.equal(fresh[4].weight, reinitialised(small, seed=2)[4].weight)


def test_a_module_that_would_keep_trained_weights_is_refused():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(ValueError, match="Own cannot draw new weights"):
        reinitialised(nn.Sequential(nn.Linear(1, 1), Own())[1])
