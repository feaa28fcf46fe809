"""The tables that generic tests run over."""

from typing import NamedTuple

import numpy as np

from dropstats import (
    AttentionDropout,
    Channels,
    DropBlock,
    DropConnect,
    DropPath,
    FixedCount,
    Layer,
    Network,
    Neuron,
)

# One level for all statistical tests of sampling in the suite: a right law fails a single test once in a million.
FALSE_ALARM = 1e-6


# --- LAWS: each with a law that is wrong for its masks, close enough that only a test with teeth tells them apart ----


class LawCase(NamedTuple):
    """A law and a wrong law of as many neurons."""

    name: str
    law: object
    wrong: object


_RATES = np.linspace(0.05, 0.6, 40)

LAWS = (
    LawCase("neuron", Neuron(0.3), Neuron(0.31)),
    LawCase("layer", Layer(64, 0.5), Layer(64, 0.502)),
    LawCase("layer, dyadic p", Layer(70, 0.125), Layer(70, 0.127)),
    LawCase("layer, small p", Layer(100, 0.003), Layer(100, 0.0033)),
    LawCase("layer, large p", Layer(33, 0.97), Layer(33, 0.968)),
    LawCase("layer, a p for each", Layer(40, _RATES), Layer(40, _RATES[::-1])),
    LawCase("layer, some certain", Layer(5, [0, 1, 0.5, 0.25, 1]), Layer(5, [0, 1, 0.5, 0.255, 1])),
    LawCase(
        "network",
        Network(Layer(20, 0.2), Layer(30, 0.5), Neuron(0.1)),
        Network(Layer(20, 0.2), Layer(30, 0.5), Neuron(0.11)),
    ),
    LawCase(
        "nested network",
        Network(Network(Layer(10, 0.2), Layer(5, 0.3)), Layer(8, 0.2)),
        Network(Network(Layer(10, 0.205), Layer(5, 0.3)), Layer(8, 0.2)),
    ),
    LawCase("channels", Channels(6, 9, 0.2), Channels(9, 6, 0.2)),
    LawCase("channels, a p for each", Channels(3, 4, [0.1, 0.2, 0.5]), Channels(3, 4, [0.1, 0.5, 0.2])),
    LawCase(
        "noise shape",
        Channels.with_noise_shape((2, 3, 4), (None, 1, 4), 0.3),
        Channels.with_noise_shape((2, 3, 4), (None, 3, 1), 0.3),
    ),
    LawCase("locked", Channels.locked(5, 7, 0.25), Channels.locked(7, 5, 0.25)),
    LawCase("dropblock", DropBlock(6, 5, 3, p=0.2), DropBlock(6, 5, 3, p=0.206)),
    LawCase("dropblock, exactly p", DropBlock.exactly(7, 7, 3, 0.1), DropBlock(7, 7, 3, p=0.1)),
    LawCase("dropblock of one neuron", DropBlock(4, 4, 1, p=0.3), DropBlock(4, 4, 1, p=0.305)),
    LawCase("fixed count", FixedCount(20, 7), FixedCount(20, 8)),
    LawCase("dropconnect", DropConnect(6, 5, 0.3), DropConnect(6, 5, 0.305)),
    LawCase("drop path", DropPath(12, 0.4, "huang"), DropPath(12, 0.4, "timm")),
    LawCase("drop path, uniform", DropPath(12, 0.4, "uniform"), DropPath(12, 0.4, "torchvision")),
    LawCase("attention", AttentionDropout(6, 6, 0.1, causal=True), AttentionDropout(7, 3, 0.104)),
    LawCase(
        "rounded",
        Layer.rounded(64, 0.1, rule="flash-attention-2"),
        Layer.rounded(64, 0.1, rule="transformer-engine"),
    ),
    LawCase(
        "network of variants",
        Network(Channels(4, 5, 0.3), Layer(10, 0.2), FixedCount(6, 2), DropBlock(3, 3, 2, p=0.25)),
        Network(Channels(4, 5, 0.3), Layer(10, 0.2), FixedCount(6, 2), DropBlock(3, 3, 2, p=0.28)),
    ),
)

# Laws at the ends of the arguments' ranges: everything must answer, silently.
EDGE_LAWS = (
    Neuron(0.0),
    Neuron(1.0),
    Neuron(1e-300),
    Layer(0, 0.5),
    Layer(0, []),
    Layer(7, 0.0),
    Layer(7, 1.0),
    Layer(3, [0.0, 1.0, 0.0]),
    Layer(2, [0.0, 0.5]),
    Layer(2, [0.5, 1.0]),
    Layer(50, 5e-324),
    Layer(50, 1 - 2**-53),
    Layer(2**53, 0.5),
    Layer(2**53, 1e-15),
    Layer(2**53, 0.0),
    Network(),
    Network(Layer(0, 0.2)),
    Network(Layer(3, 1.0), Layer(4, 0.0)),
    Network(Layer(2**52, 0.25), Layer(2**52, 0.25)),
    Channels(0, 3, 0.5),
    Channels(4, 1, 0.5),
    Channels(3, 2**40, 1.0),
    Channels(2**20, 2**33, 0.25),
    FixedCount(0, 0),
    FixedCount(5, 5),
    FixedCount(2**53, 3),
    DropBlock(1, 1, 1, p=0.5),
    DropBlock(4, 3, 2, gamma=0.0),
    DropBlock(4, 3, 2, gamma=1.0),
    DropBlock(4, 4, 4, gamma=1e-300),
    DropBlock(7, 7, 2, gamma=1e-20),
    DropConnect(0, 3, 0.5),
    DropConnect(2**26, 2**26, 0.1),
    DropPath(0, 0.5, "huang"),
    DropPath(1, 0.5, "timm"),
    AttentionDropout(0, 0, 0.1, causal=True),
    Layer.rounded(3, 1e-9, rule="transformer-engine"),
    Network(FixedCount(3, 1), Channels(2, 3, 0.0)),
    Network(DropBlock(7, 7, 2, gamma=1e-20), Channels(2, 3, 1e-200)),
)
