"""The tables that generic tests run over."""

from typing import NamedTuple

import numpy as np

from dropstats import Layer, Network, Neuron

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
)
