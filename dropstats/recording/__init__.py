"""Masks that an implementation made: read in the arrays' own library, kept one bit a neuron."""

from dropstats.recording.inputs import InputBins
from dropstats.recording.recorder import Recorder, record
from dropstats.recording.recording import Recording

__all__ = ["InputBins", "Recorder", "Recording", "record"]
