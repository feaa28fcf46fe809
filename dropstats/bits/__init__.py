"""Exact packed Bernoulli(p) bits: 64 neurons a word, each dropped with probability exactly p."""

from dropstats.bits.counting import ColumnSums
from dropstats.bits.masks import count_drops, kept_masks, packed_masks

__all__ = ["ColumnSums", "count_drops", "kept_masks", "packed_masks"]
