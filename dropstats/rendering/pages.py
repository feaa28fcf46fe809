"""How a report is handed on: text, JSON, Markdown, an HTML file, a card in a notebook; all from its plain data."""

import json
from os import PathLike
from typing import Any

from dropstats import _validate
from dropstats.rendering import text


class Pages:
    """What every report offers; a subclass supplies `to_dict`, and `_page` with what a page says beyond it."""

    def to_dict(self, *, pictures: bool = False, date: str = "") -> dict[str, Any]:
        """Return the report as a dictionary of plain values."""
        raise NotImplementedError

    def _page(self) -> dict[str, Any]:
        """Return the words of the tests, and the code that repeats the audit."""
        raise NotImplementedError

    def __repr__(self) -> str:
        data = self.to_dict()
        return f"<{text.heading(data)}: {text.outcome(data)}>"

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int = text.WIDTH) -> str:
        """Return the report as a table `width` characters wide; below 118, findings are printed under the numbers.

        Examples
        --------
        >>> from dropstats import Layer, audit
        >>> audit(Layer(64, 0.5).sample(1000, rng=0), p=0.5).to_text(width=80).splitlines()[0]
        'Audit of 1,000 masks of 64 neurons, p = 0.5: passed all 12 tests that apply'
        """
        return text.table(self.to_dict(), width)

    def to_json(self, *, indent: int | None = 2, pictures: bool = False, date: str = "") -> str:
        """Return the report as strict JSON, null where there is no number.

        Parameters
        ----------
        indent : int or None
            Spaces for each level; None for one line.
        pictures : bool
            Include the small arrays of the pictures.
        date : str
            Date of the report; none by default, so that the same masks give the same text.
        """
        data = self.to_dict(pictures=pictures, date=date)
        return json.dumps(data, indent=indent, allow_nan=False, ensure_ascii=False)

    def to_markdown(self) -> str:
        """Return the report as GitHub-flavoured Markdown, ready to paste into an issue or a pull request."""
        from dropstats.rendering import markdown

        return markdown.report(self.to_dict() | self._page())

    def to_html(self, path: str | PathLike[str], *, date: str = "") -> None:
        """Write the report as one HTML file without scripts, which loads nothing from elsewhere.

        Parameters
        ----------
        path : str or path-like
            File to write; one that exists is replaced.
        date : str
            Date to print; none by default, so that the same masks give the same file.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from dropstats.rendering import html

        path = _validate.writable(path, "a report")
        path.write_text(html.page(self.to_dict(pictures=True, date=date) | self._page()), encoding="utf-8")

    def _repr_html_(self) -> str:
        from dropstats.rendering import cards

        return cards.report(self.to_dict(pictures=True) | self._page())
