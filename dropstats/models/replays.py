"""Masks drawn again in a backward pass, held against those of the forward pass, by site and order."""

from dataclasses import dataclass, field
from typing import NamedTuple

# Regions whose masks wait to be drawn again.
_REGIONS = 4096


class Seen(NamedTuple):
    """A mask drawn in a forward pass: its site and a hash of its bits."""

    site: str
    digest: int


@dataclass
class Counts:
    """How masks drawn again compare with those of the forward pass; sites of what differs.

    `additional` are masks that the forward pass did not draw, `missing` those of it that were passed over.
    """

    equal: int = 0
    unequal: list[str] = field(default_factory=list)
    additional: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of masks that were compared."""
        return self.equal + len(self.unequal) + len(self.additional) + len(self.missing)


@dataclass
class _Region:
    """The masks of a stretch of the forward pass that may be run again, and how far the rerun has come."""

    began: int
    seen: list[Seen] = field(default_factory=list)
    run: int | None = None
    place: int = 0
    recomputed: bool = True


class Replays:
    """Compares masks of regions that are run again: `forward` where a mask is drawn, `again` where it is redrawn.

    A region is a call of a checkpointed function, or of a function with a backward of its own. The rerun must draw the
    same masks at the same sites in the same order. It may stop early, where nothing more is needed, so that what is
    missing at its end counts only after `finish`, for reruns that are known to be complete.
    """

    recomputed: Counts
    redrawn: Counts

    def __init__(self) -> None:
        self._regions: dict[int, _Region] = {}
        self.recomputed, self.redrawn = Counts(), Counts()

    def forward(self, seen: Seen, regions: tuple[int, ...], began: int) -> None:
        """Note a mask drawn inside these regions, in the pass of number `began`."""
        for region in regions:
            known = self._regions.get(region)
            if known is None or known.began != began:  # numbers of regions are used again
                self._regions.pop(region, None)
                known = self._regions[region] = _Region(began)
            known.seen.append(seen)
        while len(self._regions) > _REGIONS:
            del self._regions[next(iter(self._regions))]

    def rerun(self, region: int | None, run: int) -> None:
        """Note that a region is run again, in the backward pass of number `run`."""
        known = self._regions.get(region) if region is not None else None
        if known is not None and known.run != run:
            known.run, known.place = run, 0

    def again(self, seen: Seen, region: int | None, run: int, recomputed: bool) -> None:
        """Compare a mask drawn again, in the backward pass of number `run`."""
        counts = self.recomputed if recomputed else self.redrawn
        known = self._regions.get(region) if region is not None else None
        if known is None:
            counts.additional.append(seen.site)
            return
        self.rerun(region, run)
        known.recomputed = recomputed
        sites = [other.site for other in known.seen[known.place :]]
        # a backward of its own runs without the modules that name sites: there, the order alone counts
        if not sites or (recomputed and seen.site not in sites):
            counts.additional.append(seen.site)
            return
        passed = sites.index(seen.site) if recomputed else 0
        counts.missing += sites[:passed]
        known.place += passed + 1
        if known.seen[known.place - 1].digest == seen.digest:
            counts.equal += 1
        else:
            counts.unequal.append(known.seen[known.place - 1].site)

    def finish(self) -> None:
        """Count what the reruns left out at their end; they are known to have been complete."""
        for region in self._regions.values():
            if region.run is not None and region.recomputed:
                self.recomputed.missing += [seen.site for seen in region.seen[region.place :]]
                region.place = len(region.seen)
