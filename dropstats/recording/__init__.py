"""Recordings of the masks of an implementation, one bit per neuron."""

from dropstats.recording.inputs import InputBins
from dropstats.recording.recorder import Recorder, record
from dropstats.recording.recording import Recording

__all__ = ["InputBins", "Recorder", "Recording", "record"]
