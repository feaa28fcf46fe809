"""Sites of a model whose masks can be held against each other."""

from collections.abc import Mapping

from dropstats.recording import Recording

# Neurons of each site that are held against other sites'.
_COMPARED = 2**20
# Sites of fewer neurons are not held against sites of another width: no stretch of theirs is long enough.
_SHORTEST = 2**10


def groups(recordings: Mapping[str, Recording]) -> list[dict[str, Recording]]:
    """Return groups of recordings that can be held against each other: of one width, and all as single long masks."""
    whole = {name: one for name, one in recordings.items() if one.known is None and one.p not in (0.0, 1.0)}
    found: list[dict[str, Recording]] = []
    for n in dict.fromkeys(one.n for one in whole.values()):
        members = {name: _first(one, max(1, _COMPARED // one.trials)) for name, one in whole.items() if one.n == n}
        if len(members) > 1:
            found.append(members)
    long = {name: one for name, one in whole.items() if one.trials * one.n >= _SHORTEST}
    if len({one.n for one in long.values()}) > 1:
        size = min(_COMPARED, *(one.trials * one.n for one in long.values()))
        found.append({name: _stream(one, size) for name, one in long.items()})
    return found


def _first(recording: Recording, width: int) -> Recording:
    if recording.n <= width:
        return recording
    return Recording.from_masks(recording.masks()[:, :width], recording.p, recording.source)


def _stream(recording: Recording, size: int) -> Recording:
    """Return the first neurons of all masks, one after the other, as one long mask."""
    calls = -(-size // recording.n)
    return Recording.from_masks(recording.masks(0, calls).reshape(1, -1)[:, :size], recording.p, recording.source)
