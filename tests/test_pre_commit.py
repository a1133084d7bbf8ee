"""The hooks before a commit run the checks of `make test`, with its versions."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
REPOS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]


def test_hooks_from_elsewhere_are_pinned_and_ours_come_from_the_environment_of_make():
    for repo in REPOS:
        if repo["repo"] == "local":
            assert all(hook["entry"].startswith(".venv/bin/") for hook in repo["hooks"])
        else:
            assert re.fullmatch(r"v\d+\.\d+\.\d+", repo["rev"])


def test_the_quick_checks_of_make_are_hooks():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    hooks = {hook["id"]: hook["entry"] for repo in REPOS if repo["repo"] == "local" for hook in repo["hooks"]}
    for name, command in {"ruff": "ruff check", "format": "ruff format", "typos": "typos"}.items():
        assert f".venv/bin/{command}" in hooks[name] and f"$(BIN)/{command}" in makefile
    script = hooks["address"].split()[-1]
    assert (ROOT / script).is_file()
