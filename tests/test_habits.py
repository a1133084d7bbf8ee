"""The files around the code: valid by the schemas of those who read them, and of one mind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import gfs_tutorial

ROOT = Path(__file__).parents[1]
SCHEMAS = {
    "CITATION.cff": "citation-file-format",
    ".github/workflows/*.yml": "github-workflows",
    ".github/dependabot.yml": "dependabot",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def validate(schema, *files):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    return subprocess.run([*command, "--default-filetype", "yaml", *files], capture_output=True, text=True)


@pytest.mark.parametrize("pattern", SCHEMAS)
def test_a_file_obeys_its_schema(pattern):
    files = sorted(ROOT.glob(pattern))
    assert files
    done = validate(SCHEMAS[pattern], *files)
    assert done.returncode == 0, done.stdout


def test_the_schema_test_can_fail(tmp_path):
    (tmp_path / "CITATION.cff").write_text(read("CITATION.cff").replace("message:", "massage:"))
    assert validate("citation-file-format", tmp_path / "CITATION.cff").returncode == 1


def test_the_version_is_the_same_everywhere():
    version = gfs_tutorial.__version__
    assert f'\nversion = "{version}"\n' in read("pyproject.toml")
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version
    assert re.search(r"^## (\S+),", read("CHANGELOG.md"), re.MULTILINE)[1] == version


def test_ci_runs_on_every_python_that_the_package_promises():
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', read("pyproject.toml"))
    job = yaml.safe_load(read(".github/workflows/tests.yml"))["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == promised


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda path: path.stem
)
def test_a_job_ends_by_itself_and_may_do_only_what_it_must(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90


def test_make_targets_and_files_that_texts_and_workflows_name_exist():
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    workflows = [path.relative_to(ROOT).as_posix() for path in (ROOT / ".github/workflows").glob("*.yml")]
    for name in ("README.md", "CONTRIBUTING.md", ".github/PULL_REQUEST_TEMPLATE.md", *workflows):
        text = read(name)
        assert set(re.findall(r"(?:`|run: |^)make ([a-z]+)", text, re.MULTILINE)) <= targets, name
        assert not [
            path
            for path in re.findall(r"\b(?:tools|benchmarks)/\w+\.py", text)
            if not (ROOT / path).is_file()
        ]


def test_no_text_or_code_names_a_path_of_the_machine_that_made_it():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split():
        if (
            Path(name).suffix in {".md", ".ipynb", ".json", ".py", ".yml", ".toml"}
            and (ROOT / name).is_file()
        ):
            assert not re.search(r"(?<![\w.])/(?:home|root|Users|work)/\w", read(name)), name
