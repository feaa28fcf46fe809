"""The tests of the audit, one file each. What fails is reported in this order, cause before consequence."""

from dropstats.auditing.checks import (
    agreement,
    complexity,
    dispersion,
    drift,
    duplicates,
    edges,
    groups,
    identical,
    inputs,
    lags,
    linear,
    mean,
    overlaps,
    pairs,
    positions,
    rate,
    reseeding,
    scale,
    serial,
    shape,
    tiles,
    transposed,
)

# Of the masks of one implementation; `groups` judges laws of groups only, `complexity` must be asked for.
OF_MASKS = (
    groups.CHECK,
    rate.CHECK,
    positions.CHECK,
    dispersion.CHECK,
    tiles.CHECK,
    pairs.CHECK,
    lags.CHECK,
    serial.CHECK,
    duplicates.CHECK,
    overlaps.CHECK,
    linear.CHECK,
    reseeding.CHECK,
    complexity.CHECK,
    drift.CHECK,
    inputs.CHECK,
    scale.CHECK,
    mean.CHECK,
    edges.CHECK,
)
# Of several streams that should be independent, or identical.
OF_STREAMS = (agreement.CHECK, duplicates.STREAMS, overlaps.STREAMS, linear.STREAMS, transposed.CHECK)
OF_COPIES = (identical.CHECK,)
# Of the outputs of a noise that is no mask: with two values, or a normal factor.
OF_TWO_VALUES, OF_NORMAL = shape.OF_TWO_VALUES, shape.OF_NORMAL

__all__ = ["OF_COPIES", "OF_MASKS", "OF_NORMAL", "OF_STREAMS", "OF_TWO_VALUES"]
