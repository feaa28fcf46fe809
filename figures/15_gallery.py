"""
Variants
========

Eight variants of dropout that drop a fifth of the neurons on average: one mask of each, and the distribution of the
number dropped, compared with the binomial one.

**What to see.** The mean is the same, but the variance of the number dropped ranges from 0 (FixedCount) to twelve times
the binomial variance (Channels). A test that assumes independent neurons would reject a correct rate of Channels.
"""

import numpy as np

import dropstats as ds
from dropstats import plots
from dropstats.plots import Figure

SIDE = 12
LAWS = {
    "Layer": ds.Layer(SIDE**2, 0.2),
    "Channels": ds.Channels(SIDE, SIDE, 0.2),
    "locked in time": ds.Channels.locked(SIDE, SIDE, 0.2),
    "DropBlock": ds.DropBlock.exactly(SIDE, SIDE, 3, 0.2),
    "FixedCount": ds.FixedCount(SIDE**2, 29),
    "12 x DropPath": ds.Network(*[ds.DropPath(SIDE, 0.2 * 24 / 13, "huang")] * SIDE),
    "DropConnect": ds.DropConnect(SIDE, SIDE, 0.2),
    "causal attention": ds.AttentionDropout(SIDE, SIDE, 0.2, causal=True),
}


def draw(name, law, mask_axes, axes) -> None:
    shown = np.tri(SIDE, dtype=bool) if law.n < SIDE**2 else np.ones((SIDE, SIDE), bool)
    picture = np.full((SIDE, SIDE), 0.6)  # what a causal mask hides is grey
    picture[shown] = law.sample(1, rng=len(name))[0]
    mask_axes.imshow(picture, cmap="gray", vmin=-0.15, vmax=1)
    mask_axes.set(xticks=[], yticks=[], ylabel=name)
    mask_axes.spines[:].set_visible(True)
    k, binomial = np.arange(0, 91), ds.Layer(law.n, law.dropped.mean() / law.n).dropped
    axes.vlines(k, 0, law.dropped.pmf(k), color=plots.EXACT, linewidth=2.2, label="exact law of the count")
    axes.plot(k, binomial.pmf(k), color=plots.SIMULATED, linewidth=1.6, label="binomial of the same mean")
    axes.set(xlim=(-2, 90), ylim=(0, None), yticks=[], xlabel="dropped neurons")
    times = law.dropped.var() / binomial.var()
    axes.set_title(f"{times:.3g} x the variance", loc="right", size=11, weight="normal", pad=2)


def figure() -> Figure:
    whole = Figure(figsize=(9, 8.4))
    axes = whole.subplots(4, 4, width_ratios=[1, 1.7, 1, 1.7]).reshape(-1, 2)
    for (name, law), pair in zip(LAWS.items(), axes, strict=True):
        draw(name, law, *pair)
    title = "Eight ways to drop a fifth of the neurons, and the distributions of the count"
    whole.suptitle(title, x=0.01, ha="left", weight="bold", size=12.5)
    whole.legend(*axes[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return whole


def numbers() -> dict[str, float]:
    return {f"standard deviation of the number dropped, {name}": law.dropped.std() for name, law in LAWS.items()}
