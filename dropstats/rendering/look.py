"""The look of every picture: the project's colours, and its style of matplotlib."""

from contextlib import AbstractContextManager
from pathlib import Path

# From the palette of M. Okabe, K. Ito (2008), Color universal design, which stays apart for the colour-blind: what is
# exact is blue, what was seen vermilion.
EXACT, SIMULATED, APPROXIMATE, SHADE = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"


def style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in the style of the project, whatever the user's settings.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> with style():
    ...     figure = Figure()
    """
    import matplotlib.style

    sheet = Path(__file__).with_name("dropstats.mplstyle")
    return matplotlib.style.context(sheet, after_reset=True)
