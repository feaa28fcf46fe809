"""What masks do over the steps of a training run."""

from dropstats.training.run import Similarity, TrainingRun, passes_needed
from dropstats.training.times import LongestRun, WaitingTime

__all__ = ["LongestRun", "Similarity", "TrainingRun", "WaitingTime", "passes_needed"]
