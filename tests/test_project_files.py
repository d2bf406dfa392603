"""What stands beside the code and speaks of it: CI's workflow, the hooks before a commit, citation and metadata."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import mnv2dense

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_hooks_before_a_commit_are_the_checks_of_ci() -> None:
    content = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in content["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in content["repos"]} == {"local"}  # or versions would stand in two places
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    checks = re.findall(r"^\$bin/(ruff \w+|mypy|lint-imports)", script, re.MULTILINE)
    assert sorted(hook["entry"].removesuffix(" --fix") for hook in hooks) == sorted(checks)
    assert len(checks) == 4


def test_the_workflow_runs_the_scripts_of_ci_on_every_python_that_is_promised() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    scripts = {step["run"] for job in jobs.values() for step in job["steps"] if step.get("run", "").startswith(".ci/")}
    assert scripts == {".ci/run", ".ci/lowest"}
    for script in scripts:
        assert (ROOT / script).stat().st_mode & 0o111, f"{script} cannot be executed"
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert set(promised) <= set(jobs["everything"]["strategy"]["matrix"]["python"])
    assert f">={promised[0]}" == PROJECT["requires-python"]


def test_the_workflow_tests_folders_that_are_there() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    folders = re.findall(r"\btests/\w+", text)
    assert folders
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_issue_forms_have_what_github_wants() -> None:
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) >= 2
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= form.keys()
        fields = [field["id"] for field in form["body"]]
        assert len(set(fields)) == len(fields)
        assert all(field["attributes"]["label"] for field in form["body"])


def test_version_and_authors_are_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == PROJECT["version"] == mnv2dense.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
