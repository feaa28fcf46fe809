"""Draw all figures, or those named, into figures/out and print their key numbers.

A figure is a script NN_name.py in this folder with two functions: ``figure()`` returns the Figure, ``numbers()``
a dict of key numbers.

    python figures/make.py              all figures
    python figures/make.py 01 03_half   those whose names begin so
"""

import argparse
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from dropstats import plots

FOLDER = Path(__file__).parent


def scripts(names: list[str]) -> list[Path]:
    """Return the scripts whose names begin with one of `names`; all scripts for no names."""
    found = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
    for name in names:
        if not any(script.stem.startswith(name) for script in found):
            known = ", ".join(script.stem for script in found)
            raise SystemExit(f"make.py: error: a figure must be one of {known}; got {name!r}")
    return [script for script in found if not names or script.stem.startswith(tuple(names))]


def load(script: Path) -> ModuleType:
    """Return the module of a script, whose name begins with a digit."""
    spec = spec_from_file_location(script.stem, script)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw figures and print their key numbers.")
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 01; by default all")
    parser.add_argument("--out", type=Path, default=FOLDER / "out", help="folder to write to; by default figures/out")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = []
    progress = tqdm(scripts(arguments.names), unit="figure")
    for script in progress:
        progress.set_description(script.stem)
        module = load(script)
        with plots.style():
            figure = module.figure()
            for suffix in (".png", ".svg"):
                plots.save(figure, arguments.out / f"{script.stem}{suffix}")
        table += [(script.stem, name, f"{value:,.10g}") for name, value in module.numbers().items()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for stem, name, value in table:
        print(f"{stem:<{widths[0]}}  {name:<{widths[1]}}  {value:>{widths[2]}}")


if __name__ == "__main__":
    main()
