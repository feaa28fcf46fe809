"""Laws of dropout masks: a neuron, a layer, a network, and the variants of dropout.

A law is an immutable object that holds the exact distribution of masks and can sample them. In a mask 1 (True) keeps a
neuron and 0 drops it; ``p`` is the probability that a neuron is dropped, ``q = 1 - p`` that it is kept.
"""

from dropstats.laws.alpha import AlphaDropout
from dropstats.laws.attention import AttentionDropout
from dropstats.laws.base import Law as Law
from dropstats.laws.channels import Channels
from dropstats.laws.drop_path import DropPath
from dropstats.laws.dropblock import DropBlock
from dropstats.laws.dropconnect import DropConnect
from dropstats.laws.fixed_count import FixedCount
from dropstats.laws.gaussian import GaussianDropout
from dropstats.laws.layer import Layer
from dropstats.laws.network import Network
from dropstats.laws.neuron import Neuron

# The one table of laws: public names, `--law`, generic tests and the docs come from it.
__all__ = [
    "AlphaDropout",
    "AttentionDropout",
    "Channels",
    "DropBlock",
    "DropConnect",
    "DropPath",
    "FixedCount",
    "GaussianDropout",
    "Layer",
    "Network",
    "Neuron",
]
