"""The repository's address: one place, every other place agrees, and a fork can change it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import address
import book_cell
import pytest
import setup_cell

ROOT = Path(__file__).parents[1]
FORK = "https://github.com/Some-One/pruning.book"


@pytest.fixture
def copy(tmp_path):
    """The project's text files, as they lie here, in a repository of their own."""
    listed = address._files(ROOT)
    for path in listed:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def test_every_page_notebook_badge_and_metadata_file_agrees_with_the_address():
    assert address.disagreements() == []


def test_a_fork_sets_its_address_everywhere(copy):
    before = address.current(copy)
    changed = {path.relative_to(copy).as_posix() for path in address.set_address(FORK + ".git", copy)}
    assert {"pyproject.toml", "_config.yml", "CITATION.cff", "README.md", "book/mnist.ipynb"} <= changed
    assert address.current(copy) == FORK
    assert address.disagreements(copy) == []
    for path in address._files(copy):
        text = path.read_text(encoding="utf-8")
        assert not [form for form in address.forms(before) if form in text], path
    assert f"git+{FORK}\n" in setup_cell.first_cell(copy / "book/mnist.ipynb")
    assert "some-one.github.io/pruning.book" in (copy / "pyproject.toml").read_text()
    link = "(https://some-one.github.io/pruning.book/book/mnist.html)"
    assert link in book_cell.book_cell(copy / "book/mnist.ipynb")["source"][0]
    address.set_address(before, copy)
    for path in address._files(copy):
        assert path.read_bytes() == (ROOT / path.relative_to(copy)).read_bytes(), path


@pytest.mark.parametrize("form", range(4), ids=["repository", "Colab", "raw", "pages"])
def test_a_link_to_another_owner_is_found(copy, form):
    other = address.forms(f"https://github.com/another/{address.NAME}")[form]
    with (copy / "README.md").open("a", encoding="utf-8") as file:
        file.write(f"[here](https://{other}/more)\n")
    assert address.disagreements(copy) == [f"README.md: {other}"]


@pytest.mark.parametrize("name", ["_config.yml", "CITATION.cff", "book/mnist.ipynb", "pyproject.toml"])
def test_any_one_file_that_disagrees_is_found(copy, name):
    path = copy / name
    path.write_text(path.read_text(encoding="utf-8").replace(address.current(copy), FORK), encoding="utf-8")
    assert address.disagreements(copy)


def test_a_set_up_cell_that_was_edited_is_found(copy):
    path = copy / "book/mnist.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("pick_device()", "pick_device( )"), "utf-8")
    assert address.disagreements(copy) == ["mnist.ipynb: the set-up cell is not that of tools/setup_cell.py"]


@pytest.mark.parametrize("change", ["missing", "moved", "shown in the book", "another page"])
def test_a_cell_that_does_not_lead_to_its_page_of_the_book_is_found_and_mended(copy, change):
    path = copy / "book/mnist.ipynb"
    before = path.read_bytes()
    content = json.loads(before)
    place = next(i for i, cell in enumerate(content["cells"]) if cell["id"] == book_cell.ID)
    cell = content["cells"].pop(place)
    if change == "shown in the book":
        cell["metadata"] = {}
    if change == "another page":
        cell["source"] = [cell["source"][0].replace("mnist.html", "channels.html")]
    if change != "missing":
        content["cells"].insert(place + (change == "moved"), cell)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (wrong,) = address.disagreements(copy)
    assert wrong == "mnist.ipynb: the cell before it is not that of tools/book_cell.py"
    assert address.set_address(address.current(copy), copy) == [path]
    assert path.read_bytes() == before


def test_names_that_only_begin_alike_and_other_projects_are_left_alone(copy):
    before = address.current(copy)
    text = f"{before}-2 {before}.js https://github.com/VainF/Torch-Pruning {before}, {before}.\n"
    (copy / "page.md").write_text(text)
    address.set_address(FORK, copy)
    expected = f"{before}-2 {before}.js https://github.com/VainF/Torch-Pruning {FORK}, {FORK}.\n"
    assert (copy / "page.md").read_text() == expected


def test_the_page_of_a_user_has_no_folder():
    assert address.forms("https://github.com/Me/me.github.io")[-1] == "me.github.io"


@pytest.mark.parametrize("bad", ["github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a", "x"])
def test_an_address_of_another_kind_is_refused_and_nothing_written(copy, bad):
    before = address.current(copy)
    with pytest.raises(ValueError, match="must look like https"):
        address.set_address(bad, copy)
    assert address.current(copy) == before


def test_a_notebook_without_the_set_up_cell_is_refused(copy):
    path = copy / "book/mnist.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("%pip", "%conda"), encoding="utf-8")
    with pytest.raises(ValueError, match="first code cell must be the set-up cell"):
        setup_cell.stamp(path, address.current(copy))


def test_the_command_prints_the_address(copy):
    command = [sys.executable, copy / "tools/address.py"]
    done = subprocess.run([*command, FORK], capture_output=True, text=True, cwd=copy)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == FORK
    again = subprocess.run(command, capture_output=True, text=True, cwd=copy, check=True)
    assert again.stdout == FORK + "\n"
    refused = subprocess.run([*command, "nowhere"], capture_output=True, text=True, cwd=copy)
    assert refused.returncode == 1 and "must look like" in refused.stderr


def test_no_workflow_names_the_address():
    """A workflow sets it and pushes, and GitHub lets no workflow change a workflow."""
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        assert not [form for form in address.forms(address.current()) if form in path.read_text()]
