"""Laws of dropout masks: a neuron, a layer, a network, and the variants of dropout.

A law is a frozen value: it knows exactly how masks are distributed and can sample them. In a mask 1 (True) keeps a
neuron and 0 drops it; ``p`` is the probability that a neuron is dropped, ``q = 1 - p`` that it is kept.
"""

from dropstats.laws.base import Law
from dropstats.laws.connections import AttentionDropout, DropConnect, DropPath
from dropstats.laws.dropblock import DropBlock
from dropstats.laws.factors import AlphaDropout, GaussianDropout
from dropstats.laws.groups import Channels, FixedCount
from dropstats.laws.layers import Layer, Neuron
from dropstats.laws.networks import Network
from dropstats.laws.rounded import RoundedLayer

__all__ = [
    "AlphaDropout",
    "AttentionDropout",
    "Channels",
    "DropBlock",
    "DropConnect",
    "DropPath",
    "FixedCount",
    "GaussianDropout",
    "Law",
    "Layer",
    "Network",
    "Neuron",
    "RoundedLayer",
]
