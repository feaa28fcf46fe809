"""Run the cells of tutorial.ipynb and write their outputs into it; no notebook software is needed.

python docs/run_tutorial.py
"""

import ast
import base64
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

PATH = Path(__file__).with_name("tutorial.ipynb")


def outputs(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the outputs of the code cells, run one after the other in an empty folder, as a notebook holds them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    found = []
    with _empty_folder():
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                found.append(_run("".join(cell["source"]), names, len(found) + 1))
    return found


@contextmanager
def _empty_folder() -> Iterator[None]:
    before, backend = Path.cwd(), mpl.get_backend()
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chdir(folder)
            plt.switch_backend("Agg")
            yield
        finally:
            plt.switch_backend(backend)
            os.chdir(before)


def _run(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Run a cell: what it prints, the value of its last line, and the figures that it leaves open."""
    lines = ast.parse(source, f"cell {count}").body
    last = lines.pop() if lines and isinstance(lines[-1], ast.Expr) else None
    printed, value, others = io.StringIO(), None, plt.get_fignums()
    with redirect_stdout(printed):
        exec(compile(ast.Module(lines, []), f"cell {count}", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), names)
    found: list[dict[str, Any]] = []
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)})
    drawn = [plt.figure(number) for number in plt.get_fignums() if number not in others]
    if value is not None and not drawn:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(keepends=True)
        found.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data})
    for figure in drawn:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=60, metadata={"Software": None})
        data = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": ["<Figure>"]}
        found.append({"output_type": "display_data", "metadata": {}, "data": data})
        plt.close(figure)
    return found


def main() -> None:
    notebook = json.loads(PATH.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, (cell, found) in enumerate(zip(code, outputs(notebook), strict=True), 1):
        cell |= {"outputs": found, "execution_count": count}
    PATH.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
