"""The blocks of docs/each-framework.md: each runs in its framework, and its audit passes."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "each-framework.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## (.+?)\n.*?```python\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL))
MODULES = {"PyTorch": "torch", "JAX": "jax", "Flax": "flax", "TensorFlow": "tensorflow", "Keras": "keras"}


def run(name):
    names = {}
    exec(compile(BLOCKS[name], name, "exec"), names)
    assert names["report"].trials == 500
    return names["report"]


def test_each_block_is_run_by_one_of_the_tests_below():
    assert set(BLOCKS) == {*MODULES, "NumPy, or a kernel of your own"}


@pytest.mark.framework
@pytest.mark.parametrize("name", MODULES)
def test_in_its_framework(name):
    pytest.importorskip(MODULES[name])
    assert run(name).passed


def test_of_your_own():
    assert run("NumPy, or a kernel of your own").passed
