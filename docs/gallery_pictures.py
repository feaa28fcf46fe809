"""The pictures of the gallery: those in figures/out, which the tests hold against their scripts."""

import shutil
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

OUT = Path(__file__).parents[1] / "figures" / "out"


def scraper(block, block_vars, gallery_conf):
    """Return the picture of a script, once, after its last block."""
    script = Path(block_vars["src_file"])
    if not (picture := OUT / f"{script.stem}.png").exists():
        raise FileNotFoundError(f"{picture} is missing; python figures/make.py {script.stem} draws it")
    target = Path(next(block_vars["image_path_iterator"]))
    shutil.copy(picture, target)
    return figure_rst([str(target)], gallery_conf["src_dir"])
