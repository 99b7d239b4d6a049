"""Every sentence of the privacy guarantee points to tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GUARANTEE = (ROOT / "docs/privacy.md").read_text().partition("## The guarantee")[2].partition("\n## ")[0]
SENTENCES = re.split(r"^\d+\. ", GUARANTEE, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda text: text[:30].strip("* \n"))
def test_each_sentence_of_the_guarantee_is_held_by_tests(sentence):
    references = re.findall(r"tests/[\w/]+\.py(?:::\w+)?", sentence)
    assert references, "this sentence points to no test"
    for reference in references:
        path, _, name = reference.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not name or name in functions, f"{reference} does not exist"
