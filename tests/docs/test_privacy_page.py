"""Every sentence of the privacy guarantee points to tests that exist, and that fail where it is made false."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from guarantee_mutants import MUTANTS, Mutant

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/privacy.md").read_text()
GUARANTEE = PAGE.partition("## The guarantee")[2].partition("\n## ")[0]
SENTENCES = re.split(r"^\d+\. ", GUARANTEE, flags=re.MULTILINE)[1:]
REFERENCE = r"tests/[\w/]+\.py(?:::\w+)?"
COPIED = ("federation", "studio_node", "aggregator", "model", "tests", "docs", "benchmarks", "pyproject.toml")
FAILED_TESTS = 1
"""What pytest ends with where tests failed; anything above means that they could not even be run."""


def exists(reference: str) -> bool:
    """Whether a test that the page names is there."""
    path, _, name = reference.partition("::")
    functions = {
        n.name for n in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(n, ast.FunctionDef)
    }
    return not name or name in functions


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda text: text[:30].strip("* \n"))
def test_each_sentence_of_the_guarantee_is_held_by_tests(sentence):
    assert re.findall(REFERENCE, sentence), "this sentence points to no test"


def test_every_test_that_the_page_names_is_there():
    assert [reference for reference in re.findall(REFERENCE, PAGE) if not exists(reference)] == []


def test_every_sentence_has_a_change_that_would_break_it():
    assert {mutant.sentence for mutant in MUTANTS} == set(range(1, len(SENTENCES) + 1))
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.old) == 1, f"{mutant.file}: {mutant.old}"


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"sentence_{m.sentence:02d} {m.broken}")
def test_a_change_that_breaks_a_sentence_fails_a_test_that_the_sentence_names(mutant: Mutant, tmp_path):
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    changed = tmp_path / mutant.file
    changed.write_text(changed.read_text().replace(mutant.old, mutant.new))
    named = re.findall(REFERENCE, SENTENCES[mutant.sentence - 1])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *dict.fromkeys(named)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == FAILED_TESTS, f"{mutant.broken}, and no test says so:\n{done.stdout[-3000:]}"
