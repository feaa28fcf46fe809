"""Masks over the steps of a training run: neurons never dropped, longest runs, repeated masks."""

from dropstats.training.longest_run import LongestRun
from dropstats.training.passes import passes_needed
from dropstats.training.run import Similarity, TrainingRun
from dropstats.training.times import WaitingTime

__all__ = ["LongestRun", "Similarity", "TrainingRun", "WaitingTime", "passes_needed"]
