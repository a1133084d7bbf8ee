"""ImageNet on disk: layouts, crops, samples."""

import numpy as np
import pytest
import torch
from PIL import Image

from gfs_tutorial.data.imagenet import imagenet_wnids, load_imagenet_sample
from gfs_tutorial.data.photographs import Normalised, Photographs, find_imagenet, halves


def lay_out(folder, classes=(3, 700), each=2, size=(50, 40)):
    draw = np.random.default_rng(0)
    for number in classes:
        place = folder / imagenet_wnids()[number]
        place.mkdir(parents=True)
        for i in range(each):
            pixels = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.png")


@pytest.mark.parametrize("below", ["imagenet", ""])
def test_both_layouts_are_found(tmp_path, below):
    lay_out(tmp_path / below / "val")
    train, val, kind = find_imagenet(tmp_path)
    assert train is None and kind == "a sample" and val.labels.tolist() == [3, 3, 700, 700]
    lay_out(tmp_path / below / "train", each=3)
    train, val, kind = find_imagenet(tmp_path)
    assert (len(train), len(val), kind) == (6, 4, "ImageNet-1k")
    assert train.digest != val.digest


def test_without_folders_come_those_of_foolbox(tmp_path):
    pytest.importorskip("foolbox")
    for source, root in (("embedded", None), ("auto", tmp_path)):
        train, val, kind = find_imagenet(root, source)
        assert train is None and len(val) == 20 and "foolbox" in kind
    with pytest.raises(ValueError, match="unknown source"):
        find_imagenet(tmp_path, "web")


def test_items_are_cut_as_the_sample_in_memory_is(tmp_path):
    lay_out(tmp_path / "imagenet" / "val")
    sample = load_imagenet_sample(tmp_path, 32, verbose=False)
    _, val, _ = find_imagenet(tmp_path)
    val = val.prepared(32, "bicubic")
    assert torch.equal(torch.stack([val[i][0] for i in range(4)]), sample.X)
    assert [val[i][1] for i in range(4)] == sample.y.tolist()
    assert not torch.equal(val.prepared(32, "bilinear")[0][0], sample.X[0])


def test_augmentation_is_random_and_of_the_right_size(tmp_path):
    lay_out(tmp_path / "val", each=1)
    _, val, _ = find_imagenet(tmp_path)
    augmented = val.prepared(24, "bilinear", augment=True)
    torch.manual_seed(0)
    first, second = augmented[0][0], augmented[0][0]
    torch.manual_seed(0)
    assert torch.equal(first, augmented[0][0]) and not torch.equal(first, second)
    assert first.shape == (3, 24, 24) and first.dtype == torch.uint8


def test_halves_share_nothing_and_hold_everything():
    paths = [f"{i}" for i in range(7)]
    one, other = halves(Photographs(paths, torch.arange(7)), seed=2)
    assert (len(one), len(other)) == (3, 4) and {*one.labels.tolist(), *other.labels.tolist()} == set(
        range(7)
    )
    assert all(int(path) == label for path, label in zip(one.paths, one.labels.tolist()))
    assert one.labels.tolist() != halves(Photographs(paths, torch.arange(7)), seed=3)[0].labels.tolist()


def test_normalised_images():
    data = [(torch.full((3, 2, 2), 255, dtype=torch.uint8), 0)]
    found = Normalised(data, (0.5, 0.5, 0.0), (0.25, 0.5, 1.0))
    assert len(found) == 1 and found[0][:, 0, 0].tolist() == [2, 1, 1]
