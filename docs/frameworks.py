"""Audit the dropout of installed frameworks and write docs/frameworks.md.

    python docs/frameworks.py torch          record, audit and table what is installed, one or more of
    python docs/frameworks.py jax flax       torch, jax, flax, tensorflow, keras (KERAS_BACKEND chooses its backend)
    python docs/frameworks.py                only write the table anew

Each case is 2048 calls on 8192 ones, 16.8 million neurons, audited at false-alarm rate 1e-6; what was found is kept in
docs/frameworks.json, so that frameworks that do not go together can be recorded in one environment after the other.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tqdm import tqdm

import dropstats as ds
from dropstats.auditing import audit

CALLS, N = 2048, 8192
# The table holds some 60 audits: at 1e-6 each, one of them raises a false alarm in 20,000 tables.
FALSE_ALARM = 1e-6
RESULTS = Path(__file__).with_name("frameworks.json")
TABLE = Path(__file__).with_name("frameworks.md")
DTYPES = ("float32", "bfloat16", "float16")
RATES = (0.1, 0.3)


@dataclass(frozen=True)
class Case:
    """One function of a framework: `call` returns what dropout makes of `inputs`, or a mask."""

    framework: str
    function: str
    dtype: str
    p: float
    call: Callable[[Any], Any]
    ones: Any
    device: str = "CPU"


def torch_cases() -> Iterator[Case]:
    """Yield the cases of torch, on the CPU and a GPU if there is one."""
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    name = f"torch {torch.__version__.partition('+')[0]}"
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        where = "CPU" if device == "cpu" else torch.cuda.get_device_name()
        for dtype in DTYPES:
            ones = torch.ones(N, dtype=getattr(torch, dtype), device=device)
            for p in RATES:
                yield Case(
                    name, "nn.functional.dropout", dtype, p, lambda x, p=p: functional.dropout(x, p), ones, where
                )
                yield Case(
                    name,
                    "Tensor.bernoulli_",
                    dtype,
                    p,
                    lambda x, p=p: torch.empty_like(x).bernoulli_(1 - p) != 0,
                    ones,
                    where,
                )
                yield Case(
                    name,
                    "scaled_dot_product_attention",
                    dtype,
                    p,
                    lambda x, p=p: attention(torch, x, p),
                    ones,
                    where,
                )


def attention(torch: Any, x: Any, p: float) -> Any:
    """Return the dropout mask of attention: equal weights 1/64 over 64 values that are 64 times the unit vectors."""
    zeros = torch.zeros(1, 2, 64, 64, dtype=x.dtype, device=x.device)
    values = 64 * torch.eye(64, dtype=x.dtype, device=x.device)[None, None].expand(1, 2, 64, 64)
    return torch.nn.functional.scaled_dot_product_attention(zeros, zeros, values, dropout_p=p).reshape(N)


def jax_cases() -> Iterator[Case]:
    """Yield the cases of jax."""
    import jax
    from jax import numpy as jnp

    name, keys = f"jax {jax.__version__}", _jax_keys()
    for dtype in DTYPES:
        for p in RATES:
            keep = jnp.asarray(1 - p, dtype)
            draw = jax.jit(lambda key, keep: jax.random.bernoulli(key, keep, (N,)))
            # what is drawn is a mask: the ones do not enter
            yield Case(
                name, "random.bernoulli", dtype, p, lambda _, draw=draw, keep=keep: draw(next(keys), keep), jnp.ones(N)
            )


def flax_cases() -> Iterator[Case]:
    """Yield the cases of flax."""
    import flax
    import jax
    from flax import linen, nnx
    from jax import numpy as jnp

    name, keys = f"flax {flax.__version__}", _jax_keys()
    for dtype in DTYPES:
        ones = jnp.ones(N, dtype)
        for p in RATES:
            layer = linen.Dropout(p, deterministic=False)
            apply = jax.jit(lambda x, key, layer=layer: layer.apply({}, x, rngs={"dropout": key}))
            yield Case(name, "linen.Dropout", dtype, p, lambda x, apply=apply: apply(x, next(keys)), ones)
            module = nnx.Dropout(p, rngs=nnx.Rngs(0))
            yield Case(name, "nnx.Dropout", dtype, p, module, ones)


def _jax_keys() -> Iterator[Any]:
    import jax

    key = jax.random.key(0)
    step = 0
    while True:
        yield jax.random.fold_in(key, step)
        step += 1


def tensorflow_cases() -> Iterator[Case]:
    """Yield the cases of tensorflow."""
    import tensorflow as tf

    tf.random.set_seed(0)
    name = f"tensorflow {tf.__version__}"
    steps = iter(range(2**31))
    for dtype in DTYPES:
        ones = tf.ones(N, dtype)
        for p in RATES:
            yield Case(name, "nn.dropout", dtype, p, lambda x, p=p: tf.nn.dropout(x, p), ones)
            stateless = tf.nn.experimental.stateless_dropout
            call = lambda x, p=p, f=stateless: f(x, p, seed=[0, next(steps)])  # noqa: E731
            yield Case(name, "nn.experimental.stateless_dropout", dtype, p, call, ones)


def keras_cases() -> Iterator[Case]:
    """Yield the cases of keras, on the backend chosen by KERAS_BACKEND."""
    import keras

    keras.utils.set_random_seed(0)
    name = f"keras {keras.__version__}, {keras.backend.backend()} {_backend_version(keras.backend.backend())}"
    for dtype in DTYPES:
        ones = keras.ops.ones(N, dtype)
        for p in RATES:
            layer = keras.layers.Dropout(p, dtype=dtype, seed=1)
            yield Case(name, "layers.Dropout", dtype, p, lambda x, layer=layer: layer(x, training=True), ones)


def _backend_version(backend: str) -> str:
    return str(import_module(backend).__version__).partition("+")[0]


FRAMEWORKS = {
    "torch": torch_cases,
    "jax": jax_cases,
    "flax": flax_cases,
    "tensorflow": tensorflow_cases,
    "keras": keras_cases,
}


def judge(case: Case) -> dict[str, Any]:
    """Return what the audit of a case found, and what becomes of a dropped infinity."""
    recording = ds.record(lambda: case.call(case.ones), CALLS, case.p)
    report = audit(recording, false_alarm=FALSE_ALARM)
    scales = recording.scales or {}
    infinite = ""
    if scales:
        inputs = case.ones * float("inf")
        dropped = ds.record(lambda: case.call(inputs), 64, case.p, inputs=inputs)
        infinite = "NaN" if dropped.nans else "0" if dropped.dropped else "none dropped"
        if case.function == "scaled_dot_product_attention":
            infinite = ""
    return {
        "framework": case.framework,
        "function": case.function,
        "device": case.device,
        "dtype": case.dtype,
        "p": case.p,
        "neurons": recording.judged,
        "observed": recording.dropped / recording.judged,
        "detectable": report["rate"].detectable,
        "scale": next(iter(scales)) if len(scales) == 1 else None,
        "infinity": infinite,
        "passed": report.passed,
        "findings": {result.name: result.message for result in report.failures},
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the page."""
    lines = [HEAD.format(calls=CALLS, n=N, false_alarm=FALSE_ALARM, neurons=f"{CALLS * N / 1e6:.1f}")]
    lines += ["", "## Defects found", "", *defects(results), "", NOTES, "## All audits", ""]
    lines += [
        "| framework | function | device | dtype | p | observed | scale | dropped inf | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        scale = "" if one["scale"] is None else f"{one['scale']:.7g}"
        verdict = "passes" if one["passed"] else "**fails**: " + "; ".join(one["findings"].values())
        cells = (one["framework"], f"`{one['function']}`", one["device"], one["dtype"], f"{one['p']:g}")
        cells += (f"{one['observed']:.5f}", scale, one["infinity"], verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def defects(results: list[dict[str, Any]]) -> list[str]:
    """Return a line for each framework and dtype that fails or makes NaN of dropped infinities."""
    lines = []
    for framework, dtype in dict.fromkeys((one["framework"], one["dtype"]) for one in results):
        here = [one for one in results if (one["framework"], one["dtype"]) == (framework, dtype)]
        wrong = [one for one in here if not one["passed"]]
        if wrong:
            functions = ", ".join(dict.fromkeys(f"`{one['function']}`" for one in wrong))
            rates = {}
            for one in wrong:
                rates.setdefault(one["p"], []).append(one["observed"])
            shown = ", ".join(f"{sum(v) / len(v):.4f} for {p:g}" for p, v in sorted(rates.items()))
            lines.append(f"- **{framework}, {dtype}** ({functions}): drops {shown}.")
    for framework in dict.fromkeys(one["framework"] for one in results if one["infinity"] == "NaN"):
        lines.append(
            f"- **{framework}**: a dropped infinity becomes NaN, not 0: the mask is multiplied with the input."
        )
    return lines


HEAD = """# Audits of current frameworks

Written by `docs/frameworks.py` from real recordings: {calls} calls on {n} ones each, {neurons} million neurons a row,
audited by all tests at false-alarm rate {false_alarm:g}. *Observed* is the drop rate, *scale* what a kept 1 became,
*dropped inf* what a dropped infinity became: an exact 0, or NaN where the mask is multiplied with the input."""

NOTES = """The wrong rates are multiples of 1/128 in bfloat16 and of 1/1024 in float16, the steps of uniform numbers
drawn in these dtypes: a comparison of such a number with p drops p rounded to a step. The scale is that of the declared
p, so the mean is not preserved. `jax.random.bernoulli` draws in the dtype of the probability that it is given: give it
in float32. In bfloat16 the scale itself is rounded, 1.109375 for 1/0.9, which loses 0.16% of the mean in every
framework; that is reported, not failed.
"""


def main() -> None:
    """Record and audit what is named, and write the table."""
    parser = argparse.ArgumentParser(description="Audit installed frameworks; write docs/frameworks.md.")
    parser.add_argument("frameworks", nargs="*", choices=[[], *FRAMEWORKS], help="what to record")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for framework in arguments.frameworks:
        cases = list(FRAMEWORKS[framework]())
        names = {case.framework for case in cases}
        results = [one for one in results if one["framework"] not in names]
        results += [judge(case) for case in tqdm(cases, desc=framework)]
    results.sort(key=lambda one: (one["framework"], one["device"], one["function"]))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    TABLE.write_text(table(results))


if __name__ == "__main__":
    main()
