"""Measure dropstats beside what a user would use instead, in one run, and write the table.

    python benchmarks/run.py            # writes benchmarks/results.md and results.json
    python benchmarks/run.py --quick    # small sizes, prints only

The contenders of a line take turns, each a few times, and medians are compared, so that a busy machine slows all of
them alike. Everything runs on one thread. What is not installed is left out; ``pip install 'dropstats[bench]'``.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib import import_module, metadata, util
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402  (after the number of threads is set)
from scipy import stats  # noqa: E402

import dropstats as ds  # noqa: E402
from dropstats import bits  # noqa: E402
from dropstats.bits import tiles  # noqa: E402
from dropstats.counts import squares  # noqa: E402

HERE = Path(__file__).parent
NEURONS = 1024
# scipy's and other slow contenders draw fewer masks; times are by the neuron.
SLOW = 16


class Line(NamedTuple):
    """One comparison: what each contender does, and by how many units its time is divided."""

    section: str
    what: str
    unit: str
    contenders: dict[str, tuple[Callable[[], Any], float]]


def optional(name: str) -> Any:
    return import_module(name) if util.find_spec(name) else None


def rates(p: float | str) -> Any:
    return np.random.default_rng(0).random(NEURONS) if p == "own" else p


def sampling(masks: int) -> Iterator[Line]:
    torch, jax = optional("torch"), optional("jax")
    rng, fast = np.random.default_rng(1), np.random.Generator(np.random.SFC64(1))
    neurons, slow = masks * NEURONS, max(masks // SLOW, 1)
    yield Line(
        "sampling", "64-bit words of the generator alone", "ns/bit", {"SFC64": (partial(fill, fast, masks), neurons)}
    )
    for name in (0.5, 0.25, 0.1, 0.3, "own"):
        p = rates(name)
        law = ds.Layer(NEURONS, p)
        contenders = {
            "dropstats": (partial(ds.simulate, law, masks, 1), neurons),
            "numpy": (lambda p=p: (rng.random((masks, NEURONS)) < p).sum(axis=1), neurons),
            "numpy, SFC64, float32": (
                lambda p=p: np.count_nonzero(fast.random((masks, NEURONS), np.float32) < p, axis=1),
                neurons,
            ),
            "scipy": (
                lambda p=p: stats.bernoulli.rvs(p, size=(slow, NEURONS), random_state=rng).sum(axis=1),
                slow * NEURONS,
            ),
        }
        if torch:
            torch.set_num_threads(1)
            tensor = torch.as_tensor(np.broadcast_to(p, (slow, NEURONS)).astype(np.float32))
            contenders["torch"] = (lambda t=tensor: torch.bernoulli(t).sum(dim=1), slow * NEURONS)
        if jax:
            draw = jax.jit(lambda key, p=p: jax.random.bernoulli(key, p, (slow, NEURONS)).sum(axis=1))
            contenders["jax"] = (lambda draw=draw: draw(jax.random.key(1)).block_until_ready(), slow * NEURONS)
        label = "own p for each neuron" if name == "own" else f"p = {p}"
        yield Line("sampling", f"simulate: counts of masks, drops of neurons; {label}", "ns/neuron", contenders)
    for n, p in ((8, 0.5), (8, 0.1), (16, 0.1), (32, 0.1)):
        narrow = partial(ds.simulate, ds.Layer(n, p), masks, 1)
        yield Line(
            "sampling", f"simulate: layers of {n} neurons; p = {p}", "ns/neuron", {"dropstats": (narrow, masks * n)}
        )
    for p in (0.5, 0.1):
        law = ds.Layer(NEURONS, p)
        draw_only = partial(drawn, law.rates, masks)
        yield Line("sampling", f"packed words, not counted; p = {p}", "ns/neuron", {"dropstats": (draw_only, neurons)})
        yield Line(
            "sampling",
            f"masks as booleans; p = {p}",
            "ns/neuron",
            {
                "dropstats": (partial(law.sample, slow, 1), slow * NEURONS),
                "numpy": (lambda p=p: rng.random((slow, NEURONS)) >= p, slow * NEURONS),
            },
        )
    fixed = np.tile(np.arange(NEURONS) >= 102, (slow, 1))
    contenders = {
        "dropstats": (partial(ds.FixedCount(NEURONS, 102).sample, slow, 1), slow * NEURONS),
        "numpy": (lambda: rng.permuted(fixed, axis=1), slow * NEURONS),
    }
    yield Line("sampling", "masks that drop 102 of 1,024 neurons, as booleans", "ns/neuron", contenders)
    own = ds.Layer(NEURONS, rates("own")).rates
    what = "packed words, not counted; own p for each neuron"
    yield Line("sampling", what, "ns/neuron", {"dropstats": (partial(drawn, own, masks), neurons)})


def fill(generator: np.random.Generator, masks: int) -> None:
    for _ in range(masks * NEURONS // 2**21):
        generator.integers(0, 2**64 - 1, 2**15, dtype=np.uint64, endpoint=True)


def drawn(p: Any, masks: int) -> None:
    for _, chunk in tiles.chunks(p, masks):
        for _ in chunk.tiles(np.random.Generator(np.random.SFC64(1))):
            pass


def counts(draws: int) -> Iterator[Line]:
    torch = optional("torch")
    rng = np.random.default_rng(1)
    layer = ds.Layer(NEURONS, 0.1).dropped
    contenders = {
        "dropstats": (lambda: layer.rvs(draws, random_state=rng), draws),
        "numpy": (lambda: rng.binomial(NEURONS, 0.1, draws), draws),
        "scipy": (lambda: stats.binom.rvs(NEURONS, 0.1, size=draws, random_state=rng), draws),
    }
    if torch:
        binomial = torch.distributions.Binomial(NEURONS, torch.tensor(0.1))
        contenders["torch"] = (lambda: binomial.sample((draws // SLOW,)), draws // SLOW)
    yield Line("layer counts", "numbers of dropped neurons, drawn from their law", "ns/draw", contenders)


def network(size: int) -> ds.Network:
    return ds.Network(ds.Layer(784 // size, 0.2), ds.Layer(NEURONS // size, 0.5), ds.Layer(NEURONS // size, 0.5))


def totals(size: int) -> Iterator[Line]:
    law, fast_poibin = network(size), optional("fast_poibin")
    every, all_rates = np.arange(law.n + 1), np.array(law.rates)
    contenders = {
        "dropstats": (lambda: network(size).dropped.pmf(every), 1.0),
        "numpy, one neuron at a time": (partial(one_by_one, all_rates), 1.0),
        "scipy.stats.poisson_binom": (lambda: stats.poisson_binom(all_rates).pmf(every), 1.0),
    }
    if fast_poibin:
        contenders["fast-poibin"] = (lambda: fast_poibin.PoiBin(all_rates).pmf, 1.0)
    yield Line(
        "network totals", f"law of {law.n} neurons in three layers, all of its pmf", "ms", scaled(contenders, 1e-6)
    )
    own = np.random.default_rng(0).random(2000 // size)
    every_own = np.arange(own.size + 1)
    contenders = {
        "dropstats": (lambda: ds.Layer(own.size, own).dropped.pmf(every_own), 1.0),
        "numpy, one neuron at a time": (partial(one_by_one, own), 1.0),
        "scipy.stats.poisson_binom": (lambda: stats.poisson_binom(own).pmf(every_own), 1.0),
    }
    if fast_poibin:
        contenders["fast-poibin"] = (lambda: fast_poibin.PoiBin(own).pmf, 1.0)
    yield Line(
        "network totals", f"law of {own.size} neurons, each its own p, all of its pmf", "ms", scaled(contenders, 1e-6)
    )


def scaled(contenders: dict[str, Any], factor: float) -> dict[str, Any]:
    """Divide times by 1 / factor more: from nanoseconds to what the unit says."""
    return {name: (call, units / factor) for name, (call, units) in contenders.items()}


def one_by_one(p: Any) -> Any:
    pmf = np.ones(1)
    for rate in p:
        pmf = np.convolve(pmf, [1 - rate, rate])
    return pmf


def queries(_: int) -> Iterator[Line]:
    ours, theirs = ds.Layer(NEURONS, 0.5).dropped, stats.binom(NEURONS, 0.5)
    every = np.arange(NEURONS + 1)
    for name, k in (("pmf", 512), ("sf", 560), ("logsf", 560), ("ppf", 0.99), ("isf", 0.01)):
        contenders = {
            "dropstats": (partial(getattr(ours, name), k), 1.0),
            "scipy": (partial(getattr(theirs, name), k), 1.0),
        }
        yield Line("queries", f"layer.dropped.{name}({k}), n = 1024", "us", scaled(contenders, 1e-3))
    contenders = {"dropstats": (lambda: ours.pmf(every), 1.0), "scipy": (lambda: theirs.pmf(every), 1.0)}
    yield Line("queries", "layer.dropped.pmf of 0..1024", "us", scaled(contenders, 1e-3))
    law = network(1).dropped
    law.pmf(0)
    yield Line("queries", "network.dropped.sf(1400), law known", "us", {"dropstats": (lambda: law.sf(1400), 1e3)})
    layer = ds.Layer(NEURONS, 0.5)
    yield Line(
        "queries", "layer.prob(dropped=(480, 544))", "us", {"dropstats": (lambda: layer.prob(dropped=(480, 544)), 1e3)}
    )


def many_rates(size: int) -> Iterator[Line]:
    """Measure what sums over a million different rates, or over ten thousand terms, and takes a while."""
    rng = np.random.default_rng(0)
    own, steps = 0.5 * rng.random(10**6 // size), 10_000
    # a run, or a sum, is made anew each time: what it has found it keeps
    run = partial(lambda law, call: call(ds.TrainingRun(law, steps)), ds.Layer(own.size, own))
    calls = {
        "the longest run of any, its mean": lambda run: run.longest_run_of_any().mean(),
        "steps until all are dropped, the mean": lambda run: run.steps_until_all().mean(),
        "how many are never dropped, the mean": lambda run: run.never_dropped.mean(),
        "whether a mask comes twice": lambda run: run.any_repeat,
    }
    for what, call in calls.items():
        what = f"{own.size:,} different rates, {steps:,} steps: {what}"
        yield Line("many rates", what, "s", {"dropstats": (partial(run, call), 1e9)})
    weights, inputs = rng.standard_normal((2, 10_000 // size))
    law = ds.Layer(weights.size, 0.5)
    points = np.linspace(-300, 300, 100)
    call = partial(lambda: ds.PreActivation(weights, inputs, law).training.cdf(points))
    what = f"tails of a sum of {weights.size:,} masked inputs at 100 points, by saddlepoint"
    yield Line("many rates", what, "s", {"dropstats": (call, 1e9)})
    coarse, ones = np.round(weights[:1000], 3), np.ones(weights[:1000].size)
    some = ds.Layer(ones.size, 0.5)
    call = partial(lambda: ds.PreActivation(coarse, ones, some, scaling=None).training.lattice())
    what = f"exact law of a sum of {ones.size:,} masked weights of three decimals, on its lattice"
    yield Line("many rates", what, "s", {"dropstats": (call, 1e9)})


def growth(largest: float) -> Iterator[Line]:
    """Measure how times grow: with the neurons of a sum, its different rates, and the neurons of an audit."""
    fast_poibin = optional("fast_poibin")
    for n in (10.0**power for power in range(4, 16) if 10.0**power <= largest**2):
        law = partial(ds.Network, ds.Layer(int(n), 0.1), ds.Layer(int(n), 0.2))
        contenders = {"dropstats": (lambda law=law, n=n: law().prob(dropped=int(0.3 * n)), 1e3)}
        yield Line("growth", f"one probability of two layers of n neurons, n = {n:.0e}", "us", contenders)
    for n in (n for n in (10**4, 10**6, 10**8) if n <= largest**2):
        parts = [ds.Channels(n, size, 0.1) for size in (10007, 10009, 20016, 30011)]
        tail = partial(lambda parts, n: ds.Network(*parts).prob(dropped=(7100 * n, None)), parts, n)
        contenders = {"dropstats": (tail, 1e6)}
        yield Line("growth", f"one tail of n channels of each of four unlike sizes, n = {n:.0e}", "ms", contenders)
    for shift in (shift for shift in (1e-3, 1e-4, 1e-5, 1e-6) if shift >= 1 / largest):
        contenders = {"dropstats": (partial(ds.neurons_needed, 0.1, shift), 1e6)}
        yield Line("growth", f"neurons needed for a shift of 1 / n, n = {1 / shift:.0e}", "ms", contenders)
    for size in (size for size in (200, 2000, 20_000, 200_000, 10**6) if size <= largest):
        own = np.random.default_rng(0).random(size)
        every = np.arange(size + 1)
        contenders = {"dropstats": (lambda own=own, every=every: ds.Layer(own.size, own).dropped.pmf(every), 1e6)}
        if fast_poibin:  # its tails are lost: of 5,000 rates on, what is below 1e-16 of the largest is rounding
            contenders["fast-poibin"] = (lambda own=own: fast_poibin.PoiBin(own).pmf, 1e6)
        yield Line("growth", f"law of n different rates, all of its pmf, n = {size:.0e}", "ms", contenders)
        first = {"dropstats": (lambda own=own: ds.Layer(own.size, own).prob(dropped=own.size // 2), 1e6)}
        yield Line("growth", f"law of n different rates, one probability, n = {size:.0e}", "ms", first)
    for n in (n for n in (10**4, 10**5, 10**6) if n <= largest):
        recording = ds.Recording.from_masks(ds.Layer(n, 0.1).sample(50, rng=0), p=0.1)
        contenders = {"dropstats": (partial(ds.audit, recording), 1e9)}
        yield Line("growth", f"audit of 50 masks of n neurons, n = {n:.0e}", "s", contenders)


def exponents(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each series of sizes: the power of n that its last two times grow with."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        what, _, size = row["what"].partition(", n = ")
        if row["section"] == "growth" and size:
            series.setdefault(what, []).append((float(size), row["times"]["dropstats"]))
    text = []
    for what, points in series.items():
        if len(points) > 1:
            (n, before), (m, after) = points[-2:]
            power = np.log(after / before) / np.log(m / n)
            text.append(f"- {what}: from n = {n:.0e} to {m:.0e} as n^{power:.2f}")
    return text


def by_hand(kept: Any, p: float) -> Any:
    """Do three of the audit's twelve tests the plain way: the total, each neuron, all pairs of neurons."""
    dropped = ~kept
    trials, n = kept.shape
    smallest = stats.binomtest(int(dropped.sum()), trials * n, p).pvalue
    smallest = min([smallest, *(stats.binomtest(int(k), trials, p).pvalue for k in dropped.sum(axis=0))])
    return smallest, np.abs(np.corrcoef(dropped.T) - np.eye(n)).max()


def audits(size: int) -> Iterator[Line]:
    for trials, n, p in ((1000, 1000, 0.1), (1000, 1000, 0.5), (400, 131072, 0.1)):
        kept = ds.Layer(n // size, p).sample(trials // size, rng=0)
        recording = ds.Recording.from_masks(kept, p=p)
        contenders = {"dropstats": (partial(ds.audit, recording), 1e9)}
        if n <= 1000:
            contenders["3 of its tests, by scipy.binomtest and numpy.corrcoef"] = (partial(by_hand, kept, p), 1e9)
        what = f"audit of {kept.shape[0]} masks of {kept.shape[1]:,} neurons, p = {p}: all tests"
        yield Line("audit", what, "s", contenders)


def unlike(size: int) -> Iterator[Line]:
    """Measure audits of neurons that differ in rate, or depend on each other, and what two threads bring."""
    n, own = 131072 // size, np.random.default_rng(0).random(131072 // size) / 2
    laws = {
        "one rate": (ds.Layer(n, 0.1), 400), "rates of their own": (ds.Layer(n, own), 400),
        "eight rates": (ds.Network(*[ds.Layer(n // 8, 0.1 + 0.05 * k) for k in range(8)]), 400),
        "DropBlock, 56 x 56, blocks of 7": (ds.DropBlock(56, 56, 7, p=0.1), 16384 // size),
    }  # fmt: skip
    for name, (law, trials) in laws.items():
        recording = ds.Recording.from_masks(law.sample(trials, rng=1))
        contenders = {
            "dropstats": (partial(ds.audit, recording, law), 1e9),
            "dropstats, workers=2": (partial(ds.audit, recording, law, workers=2), 1e9),
        }
        yield Line("audit", f"audit of {trials:,} masks of {law.n:,} neurons, {name}", "s", contenders)

    def count() -> None:
        squares.cache_clear()
        _ = ds.DropBlock(14 if size == 1 else 7, 14 if size == 1 else 7, 5, p=0.1).dropped

    yield Line("audit", "law of the count of DropBlock, 14 x 14, blocks of 5", "s", {"dropstats": (count, 1e9)})


# Draws, records and audits masks of one shape; prints the CPU time of the audit and the peak memory of all of it.
_AUDIT = """
import resource, sys, time, dropstats as ds
trials, n = map(int, sys.argv[1:])
recording = ds.Recording.from_masks(ds.Layer(n, 0.1).sample(trials, rng=1), p=0.1)
begin = time.process_time()
assert ds.audit(recording).passed
seconds = time.process_time() - begin
try:  # Linux: of this process alone; what getrusage says begins with that of its parent
    status = dict(line.split(":") for line in open("/proc/self/status"))
    memory = int(status["VmHWM"].split()[0])
except (OSError, KeyError):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, memory / 2**20)
"""


def shapes(neurons: int) -> Iterator[dict[str, Any]]:
    """Yield rows of the time and the memory that an audit of so many neurons takes, whatever their shape."""
    for trials in (1, 4, neurons // 10**4, neurons // 100, neurons // 10, neurons):
        n = neurons // trials
        done = subprocess.run([sys.executable, "-c", _AUDIT, str(trials), str(n)], capture_output=True, check=True)
        seconds, memory = map(float, done.stdout.split())
        masks, each = ("s" if number > 1 else "" for number in (trials, n))
        what = f"audit of {trials:,} mask{masks} of {n:,} neuron{each}, a process of its own"
        yield {"section": "audit of any shape", "what": what, "unit": "s of CPU", "times": {"dropstats": seconds}}
        yield {
            "section": "audit of any shape",
            "what": "its peak memory",
            "unit": "GiB",
            "times": {"dropstats": memory},
        }


def monitors(size: int) -> Iterator[Line]:
    """Measure steps of a monitor, 64 at a time so that all it does comes by, beside the dropout that it watches."""
    torch, steps = optional("torch"), 64
    for n, unit, scale in ((2**20 // size, "ms", 1e6), (NEURONS, "us", 1e3)):
        fresh = cycle(bits.packed_masks(ds.Layer(n, 0.1).rates, 10 * steps, 1))  # none comes again in 8 turns
        monitor = ds.Monitor(0.1, n=n)

        def watch(monitor: Any = monitor, fresh: Any = fresh) -> None:
            for mask in islice(fresh, steps):
                monitor.update(mask)

        contenders = {"dropstats": (watch, steps * scale)}
        if torch:
            torch.set_num_threads(1)
            ones = torch.ones(n)
            contenders["torch.nn.functional.dropout"] = (partial(torch.nn.functional.dropout, ones, 0.1), scale)
        yield Line("monitor", f"a step of a monitor, {n:,} packed neurons, p = 0.1", unit, contenders)


def models(scale: int) -> Iterator[Line]:
    torch = optional("torch")
    if not torch:
        return
    nn = torch.nn
    torch.set_num_threads(1)
    width, batch, steps = 256 // scale, 16, 4
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, batch_first=True)
    stack = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    model = nn.Sequential(nn.Embedding(1000, width), stack, nn.Linear(width, 1000))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    tokens = torch.randint(0, 1000, (batch, 64))

    def train() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
            optimizer.step()

    def watched(**options: Any) -> None:
        with ds.watch(model, **options):
            train()

    unit, each = "ms a step", steps * 1e6
    what = f"a training step of a transformer of 4 layers, width {width}, {batch} x 64 tokens, under `watch`"
    contenders = {
        "dropstats": (watched, each),
        "dropstats, with monitors": (partial(watched, monitor=True), each),
        "torch, not watched": (train, each),
    }
    yield Line("models", what, unit, contenders)


def imports(_: int) -> Iterator[Line]:
    def run(statement: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True)

    others = ["numpy", "scipy.stats", *(name for name in ("torch", "jax") if util.find_spec(name))]
    contenders = {"dropstats": (run("import dropstats"), 1e6), "nothing": (run("pass"), 1e6)}
    contenders |= {name: (run(f"import {name}"), 1e6) for name in others}
    yield Line("import", "a new Python that imports it", "ms", contenders)


def measure(line: Line, repeats: int) -> dict[str, float]:
    """Return the median time of each contender, in the line's unit; calls too short to time are repeated."""
    loops = {}
    for name, (call, _) in line.contenders.items():
        begin = time.perf_counter()
        call()
        loops[name] = max(1, int(0.02 / max(time.perf_counter() - begin, 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in line.contenders}
    for _ in range(repeats):
        for name, (call, units) in line.contenders.items():
            begin = time.perf_counter()
            for _ in range(loops[name]):
                call()
            times[name].append((time.perf_counter() - begin) / loops[name] * 1e9 / units)
    return {name: median(values) for name, values in times.items()}


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def machine(repeats: int) -> dict[str, Any]:
    packages = ("dropstats", "numpy", "scipy", "torch", "jax", "fast-poibin")
    installed = {dist.metadata["Name"].lower() for dist in metadata.distributions()}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": f"{cpu()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages if name in installed},
        "repeats": repeats,
    }


def markdown(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    text = [
        "# Benchmarks",
        "",
        f"Written by `python benchmarks/run.py` on {about['date']}: {about['cpu']} ({about['system']}), Python "
        f"{about['python']}, {versions}. One thread. Medians of {about['repeats']} turns; load average at the start "
        f"{about['load']}. The ratio is the other's time by that of dropstats in the same run; of the fill: how many "
        "times as long as the generator takes for one random bit a neuron.",
    ]
    fill = next((row["times"]["SFC64"] for row in rows if "SFC64" in row["times"]), None)
    for section in dict.fromkeys(row["section"] for row in rows):
        # how far from what the generator takes for one random bit a neuron, below which no way of drawing goes
        filled = fill if section == "sampling" else None
        last, line = (" of the fill |", "---:|") if filled else ("", "")
        head = f"| what | unit | by | time | ratio |{last}", f"|---|---|---|---:|---:|{line}"
        text += ["", f"## {section.capitalize()}", "", *head]
        for row in (row for row in rows if row["section"] == section):
            for index, (name, value) in enumerate(row["times"].items()):
                ours = row["times"].get("dropstats")
                ratio = f"{value / ours:.2g}" if ours and name != "dropstats" else ""
                if ratio and value / ours >= 10:
                    ratio = f"{value / ours:.0f}"
                what, unit = (row["what"], row["unit"]) if index == 0 else ("", "")
                times = f" {value / filled:.2g} |" if filled else ""
                text.append(f"| {what} | {unit} | {name} | {value:.3g} | {ratio} |{times}")
    grown = exponents(rows)
    text += ["", "How times grow:", "", *grown] if grown else []
    if any("fast-poibin" in row["times"] for row in rows):
        text += [
            "",
            "Of fast-poibin: from some 5,000 rates on its tails are lost: it multiplies by Fourier transforms, whose "
            "rounding error is 1e-16 of the largest probability; those of dropstats keep their digits. Below some "
            "20,000 rates it is faster. It is compiled, where dropstats multiplies by NumPy: of 200 rates that is some "
            "60 calls, whose overhead alone takes longer than all of fast-poibin; of thousands of rates, exact "
            "products need more multiplications than Fourier transforms.",
        ]
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing written")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each contender (default 7)")
    parser.add_argument("--section", help="measure this section only, nothing written")
    options = parser.parse_args()
    repeats = 2 if options.quick else options.repeats
    sections = {
        "sampling": partial(sampling, 2**12 if options.quick else 2**16),
        "layer counts": partial(counts, 10**4 if options.quick else 10**6),
        "network totals": partial(totals, 16 if options.quick else 1),
        "queries": partial(queries, 0),
        "many rates": partial(many_rates, 100 if options.quick else 1),
        "growth": partial(growth, 2e4 if options.quick else 1e8),
        "audit": partial(audits, 2 if options.quick else 1),
        "unlike": partial(unlike, 64 if options.quick else 1),
        "monitor": partial(monitors, 64 if options.quick else 1),
        "models": partial(models, 8 if options.quick else 1),
        "import": partial(imports, 0),
    }
    about, rows = machine(repeats), []
    for name, lines in sections.items():
        for line in lines() if options.section in (None, name) else ():
            rows.append(
                {"section": line.section, "what": line.what, "unit": line.unit, "times": measure(line, repeats)}
            )
            print(line.what, {name: float(f"{value:.3g}") for name, value in rows[-1]["times"].items()}, flush=True)
    for row in shapes(10**5 if options.quick else 10**8) if options.section in (None, "shapes") else ():
        rows.append(row)
        print(row["what"], {name: float(f"{value:.3g}") for name, value in row["times"].items()}, flush=True)
    if not options.quick and options.section is None:
        (HERE / "results.json").write_text(json.dumps({**about, "lines": rows}, indent=1) + "\n")
        (HERE / "results.md").write_text(markdown(about, rows))


if __name__ == "__main__":
    main()
