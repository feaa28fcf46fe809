"""The museum: reported dropout bugs, each with a generator that has just this defect and the check that finds it.

The generators are in tests/defects.py, those of whole models in tests/defects_torch.py; docs/museum.py writes
docs/museum.md from this table, and tests/test_museum.py holds both to it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import defects
import faults
import numpy as np

from dropstats import DropBlock, Layer, Monitor, Network
from dropstats.auditing import TESTS, audit, audit_streams, checks
from dropstats.models.checks import CHECKS as OF_MODELS
from dropstats.monitoring.summary import SHARES
from dropstats.testing import assert_dropout

# The error of p that `assert_dropout` is asked to see: so large that one call is enough.
_DETECT = 0.25
# Rows of the batches of tests/defects_torch.py, each of which is a mask.
BATCH = 4
# Fewest calls that a call takes, where these are not one.
LEAST = {"audit_model": 2}
# What a user sees -> heading of the page, in its order.
GROUPS = {
    "same": "The same mask again and again",
    "ranks": "Ranks, layers or gates drop the same neurons",
    "together": "Neurons drop together, or some never drop",
    "rate": "The rate is slightly off",
    "wrong": "The rate is wrong by far, or nothing is dropped",
    "scale": "Outputs are scaled wrongly, NaN or out of place",
    "gradient": "The second pass differs: recomputed, compiled, backward",
    "evaluation": "Dropout in evaluation, or none after it",
    "streams": "Calls overlap, or follow from each other",
}
# How we know: how the page says it.
SURE = {
    "I": "as its thread states it",
    "S": "its source was read",
    "R": "reproduced",
    "D": "derived from the source; nobody reported it",
    "M": "measured on the release; nobody reported it that we know of",
}
# Neurons of the largest draw at 0 < p < 1 in a project's own test of dropout, and the test (of the release whose file
# was read). Projects that are not here have a test that we do not know.
OWN_TESTS = {
    "PyTorch": (1000, "test/nn/test_dropout.py"),
    "TensorFlow": (12_000, "nn_test.py"),
    "Keras": (10_000, "dropout_test.py"),
    "Flax": (100_000, "linen_test.py"),
    "JAX": (10_000, "random_lax_test.py"),
    "FlashAttention": (340_000, "test_flash_attn.py"),
    "TransformerEngine": (16_384, "test_fusible_ops.py"),
    "ONNX Runtime": (1000, "dropout_op_test.cc"),
    "MXNet": (10_000, "test_operator.py, skipped as flaky"),
    "Paddle": (0, "test_dropout_op.py, which trains at p = 0 and p = 1 only (4,096)"),
    "OneFlow": (120, "test_dropout.py, two draws of one seed"),
    "tt-metal": (1024, "test_dropout.py, which asserts nothing"),
    "xFormers": (3_211_264, "test_triton_dropout.py, whose rows must differ"),
    "DropBlock": (25_600, "test_dropblock2d.py, which looks at the shape"),
}
# Those of their largest mask at p = 0 or 1, where that is all that such a test has.
AT_THE_EDGES = {"Paddle": 4096}


@dataclass(frozen=True)
class Exhibit:
    """A reported bug, a model of it, and what must be found.

    `make(rng, mended)` gives what the defective, or the mended, implementation gives in `trials` calls; `call` finds
    the defect by failing `check` with words that match `says`. `trials` are the fewest, of 1, 2, 3, 4, 6, 8, 12, 16,
    24, ..., at which it does in 5 of 5 seeds (of `audit_model`, that takes two at least); `make(rng, mended, trials)`
    makes fewer.
    """

    name: str
    project: str
    reference: str
    group: str
    sure: str
    symptom: str
    masks: str
    make: Callable[..., Any]
    law: Any
    trials: int
    n: int
    call: str
    check: str
    says: str
    slow: bool
    needs: str

    @property
    def p(self) -> float:
        """Declared drop probability; the mean one where rates differ."""
        return float(np.mean(self.law.rates))


EXHIBITS: dict[str, Exhibit] = {}


def shown(
    name, project, reference, group, sure, symptom, masks, make, trials, n, p, check, says,
    args=(), call="audit", law=None, slow=False, needs="",
):  # fmt: skip
    """Add an exhibit to the table."""
    assert name not in EXHIBITS, name
    assert group in GROUPS, group
    assert sure in SURE, sure
    law = Layer(n, p) if law is None else law

    def made(rng, mended, trials=trials):
        return make(rng, mended, trials, n, p, *args)

    EXHIBITS[name] = Exhibit(
        name, project, reference, group, sure, symptom, masks, made, law, trials, n, call, check, says, slow, needs
    )


def of_model(name):
    """Return the mechanism of this name in tests/defects_torch.py, which needs torch."""

    def make(*arguments):
        import defects_torch

        return getattr(defects_torch, name)(*arguments)

    return make


class Verdict(NamedTuple):
    """Whether all passed, and the checks that fail with their findings, those that follow from another left out."""

    passed: bool
    findings: dict[str, str]


def judged(exhibit: Exhibit, seed: int, mended: bool = False, trials: int | None = None) -> Verdict:
    """Return what the exhibit's call says of the defective, or the mended, implementation."""
    exhibit = exhibit if trials is None else replace(exhibit, trials=trials)
    return CALLS[exhibit.call](exhibit, exhibit.make(np.random.default_rng(seed), mended, exhibit.trials))


def _of_report(report: Any) -> Verdict:
    return Verdict(report.passed, {one.name: one.message for one in report.failures if not one.explained_by})


def _audited(exhibit: Exhibit, made: Any) -> Verdict:
    return _of_report(audit(made, exhibit.law))


def _streams(exhibit: Exhibit, made: Any) -> Verdict:
    return _of_report(audit_streams(made, law=exhibit.law))


def _copies(exhibit: Exhibit, made: Any) -> Verdict:
    return _of_report(audit_streams(made, "identical", law=exhibit.law))


def _monitored(exhibit: Exhibit, made: Any) -> Verdict:
    monitor = Monitor(exhibit.law)
    monitor.update(made)
    return Verdict(True, {}) if monitor.alarm is None else Verdict(False, {monitor.alarm.check: str(monitor.alarm)})


def _asserted(exhibit: Exhibit, made: Mapping[str, Any]) -> Verdict:
    try:
        assert_dropout(p=exhibit.p, trials=exhibit.trials, detect=_DETECT, **made)
    except AssertionError as error:
        lines = [line.strip().partition(": ") for line in str(error).splitlines()]
        named = {name: text for name, _, text in lines if name.isalpha()}
        return Verdict(False, named or {"outputs": str(error).partition(": ")[2]})
    return Verdict(True, {})


def _model(exhibit: Exhibit, made: Any) -> Verdict:
    from dropstats import audit_model

    report = audit_model(*made, calls=exhibit.trials)
    return Verdict(report.passed, {one.name: one.message for one in report.results if one.verdict == "fail"})


# How an exhibit is looked at, as a user calls it.
CALLS = {
    "audit": _audited,
    "audit_streams": _streams,
    "audit_streams(expect='identical')": _copies,
    "Monitor": _monitored,
    "assert_dropout": _asserted,
    "audit_model": _model,
}


# The checks that each of them has.
CHECKS = {
    "audit": set(TESTS),
    "audit_streams": {check.name for check in checks.OF_STREAMS},
    "audit_streams(expect='identical')": {check.name for check in checks.OF_COPIES},
    "Monitor": set(SHARES) | {"groups", "edges"},
    "assert_dropout": {*TESTS, "evaluate", "outputs"},
    "audit_model": set(OF_MODELS),
}


def shows(exhibit: Exhibit, verdict: Verdict) -> bool:
    """Return whether the exhibit's check fails, in its words."""
    return re.search(exhibit.says, verdict.findings.get(exhibit.check, "nothing")) is not None


def neurons(exhibit: Exhibit) -> int:
    """Return how many neurons are looked at: of all calls and streams, and of the output in evaluation."""
    made = {} if exhibit.needs else exhibit.make(np.random.default_rng(0), False)
    if exhibit.call.startswith("audit_streams"):
        return sum(np.size(one) for one in made.values())
    rows = exhibit.trials * (BATCH if exhibit.call == "audit_model" else 1)
    return (rows + (exhibit.call == "assert_dropout" and "evaluate" in made)) * exhibit.n


# ---- the same mask again and again -----------------------------------------------------------------------------------

shown(
    "CUDA graph replays one mask", "PyTorch", "pytorch/pytorch#84614", "same", "I",
    "every replay of a CUDA graph drops the same neurons",
    "all rows equal: the graph captured the generator's offset",
    defects.captured_graph, 2, 256, 0.1, "duplicates", "^every mask is the same$",
)  # fmt: skip
shown(
    "seed set anew at each step", "PyTorch/XLA", "pytorch/xla#1932, pytorch/xla#8636", "same", "I",
    "the loss repeats itself; every step sees the same noise",
    "the draws of one step differ, those of all steps are the same",
    defects.reset_each_step, 4, 256, 0.1, "duplicates", "^masks repeat every 3 calls$", (3,),
)  # fmt: skip
shown(
    "seed and offset written into the source", "FlashAttention", "Dao-AILab/flash-attention#2088", "same", "S",
    "dropout of all attention layers is the same, in all steps (AMD backend)",
    "one mask everywhere: seed 0x1BF58, offset 0x1D4B49",
    defects.constant, 1, 256, 0.1, "agreement", "^all 3 streams have identical masks$", (defects.LAYERS,),
    call="audit_streams",
)  # fmt: skip
shown(
    "offset not moved on", "FlashAttention", "Dao-AILab/flash-attention#314, #315", "same", "S",
    "consecutive calls give equal outputs",
    "runs of equal rows, broken where another operation used the generator",
    defects.offset_moved_by_others, 6, 256, 0.1, "duplicates", "successive calls share a mask$", (0.2,),
)  # fmt: skip
shown(
    "mask cached in the cell", "TensorFlow", "tensorflow/tensorflow#29391, #32543", "same", "I",
    "a recurrent layer called twice in training mode gives one output",
    "all rows equal: the cell's mask was never reset",
    defects.shared(faults.frozen, 0.1), 2, 256, 0.1, "duplicates", "^every mask is the same$",
)  # fmt: skip
shown(
    "mask frozen while training", "PyTorch MPS", "pytorch/pytorch#185351", "same", "I",
    "an LSTM's dropout on Apple devices never changes during a run",
    "all rows equal",
    defects.shared(faults.frozen, 0.2), 2, 512, 0.2, "duplicates", "repeats that of step 1", call="Monitor",
)  # fmt: skip
shown(
    "one mask on Apple devices", "Keras", "keras-team/keras#16720", "same", "I",
    "a Dropout layer gives the same output at each call",
    "all rows equal",
    defects.shared(faults.frozen, 0.5), 2, 64, 0.5, "duplicates", "^every mask is the same$",
)  # fmt: skip
shown(
    "the operator always starts from one seed", "Paddle", "PaddlePaddle/Paddle#7796", "same", "I",
    "two dropout operators of one size, and all their calls, agree",
    "one mask for both operators",
    defects.constant, 1, 256, 0.2, "agreement", "have identical masks$", (("dropout 0", "dropout 1"),),
    call="audit_streams",
)  # fmt: skip
shown(
    "4,096 seeds", "MXNet", "src/operator/nn/dropout-inl.h", "same", "R",
    "with MKL, masks come back after some dozens of calls",
    "equal rows as if drawn from a few thousand seeds; position 0 always 1, others correlate",
    defects.few_seeds, 192, 256, 0.1, "duplicates", r"as if drawn from about [2-7],\d00 seeds$",
)  # fmt: skip
shown(
    "position 0 never drops", "MXNet", "src/operator/nn/dropout-inl.h, with the same call", "together", "R",
    "with MKL, the first neuron is never dropped",
    "column 0 all ones: the first number drawn is seed / 2^31, near 0",
    defects.few_seeds, 128, 256, 0.1, "positions", r"^position 0 is never dropped$",
)  # fmt: skip
shown(
    "seeded by the second", "ideep", "intel/ideep include/ideep/utils.hpp", "same", "S",
    "all calls within one second share a mask: srand(time(0)) in each call",
    "runs of equal rows, as long as the calls of a second",
    defects.clock, 48, 256, 0.1, "duplicates", "successive calls share a mask$", (40,),
)  # fmt: skip
shown(
    "windows of one cycle", "PyTorch", "pytorch/pytorch#132395, mended by #146174", "streams", "R",
    "with MKL on Intel CPUs, masks of different calls contain the same stretches (until 2.6)",
    "pairs of calls share a stretch, shifted: each call starts one 31-bit generator anew, somewhere",
    defects.one_cycle, 6144, 256, 0.5, "overlaps", r"share \d+ elements, shifted by \d+", slow=True,
)  # fmt: skip
shown(
    "a seed that scan does not split", "Flax", "google/flax#4950", "same", "I",
    "under functional scan all steps of a sequence have one dropout mask",
    "runs of equal rows, one for each sequence",
    defects.every_so_many, 12, 256, 0.1, "duplicates", "successive calls share a mask$", (8,),
)  # fmt: skip
shown(
    "split sets a counter back", "Flax", "google/flax#5529", "same", "R",
    "after `Rngs.split`, a stream that it passes through gives the keys again that were used already",
    "the second half of the rows repeats the first",
    defects.replayed_keys, 4, 256, 0.1, "duplicates", r"^masks repeat every \d+ calls$",
)  # fmt: skip

# ---- ranks, layers, gates --------------------------------------------------------------------------------------------

shown(
    "one seed on all ranks", "Transformers", "huggingface/transformers#31412, huggingface/accelerate#114", "ranks", "I",
    "data-parallel training loses quality: all GPUs drop the same neurons",
    "the ranks' masks are equal, call by call; each rank alone is right",
    defects.one_seed, 1, 256, 0.1, "agreement", "^all 4 streams have identical masks$", (defects.RANKS,),
    call="audit_streams",
)  # fmt: skip
shown(
    "one mask on four devices", "tt-metal", "tenstorrent/tt-metal#16823, #55947", "ranks", "I",
    "every device of a mesh drops the same neurons",
    "the devices' masks are equal",
    defects.one_seed, 1, 1024, 0.2, "agreement", "identical masks$",
    (("device 0", "device 1", "device 2", "device 3"),), call="audit_streams",
)  # fmt: skip
shown(
    "the rank is not in the seed", "OneFlow", "Oneflow-Inc/oneflow#3974, ecmwf/anemoi-core#595", "ranks", "I",
    "all ranks make the same draws", "the ranks' masks are equal",
    defects.one_seed, 1, 256, 0.5, "agreement", "^rank 0 and rank 1 have identical masks$", (("rank 0", "rank 1"),),
    call="audit_streams",
)  # fmt: skip
shown(
    "seeds of two ranks collide", "Megatron-LM", "training/initialize.py", "ranks", "D",
    "two of 22 ranks drop the same neurons",
    "one pair of streams agrees, of 231: the seed is base + 100 pp + 10 dp",
    defects.pipeline_seeds, 1, 256, 0.1, "agreement", "^pp 0 dp 10 and pp 1 dp 0 have identical masks$",
    call="audit_streams",
)  # fmt: skip
shown(
    "the state of the parallel region is lost", "Megatron-LM",
    "NVIDIA/Megatron-LM#1256, NVIDIA/TransformerEngine#1272", "ranks", "I",
    "tensor-parallel ranks drop the same neurons of different heads",
    "the ranks' masks are equal: `with a and b:` enters b only, and they draw from the state that they share",
    defects.one_seed, 1, 512, 0.1, "agreement", "have identical masks$", (("tp 0", "tp 1"),), call="audit_streams",
)  # fmt: skip
shown(
    "one mask for all gates", "Keras", "keras-team/keras#20656, #20663", "ranks", "I",
    "GRU and LSTM with recurrent dropout do not converge",
    "the gates' masks are equal, where each should have its own",
    defects.one_seed, 1, 256, 0.2, "agreement", "^all 3 streams have identical masks$",
    (("update gate", "reset gate", "candidate"),), call="audit_streams",
)  # fmt: skip
shown(
    "names that join to one path", "Flax", "google/flax#2157", "ranks", "R",
    "two layers of unlike names drop the same neurons",
    "two layers' masks are equal, those of others are not: the names ab, cdef and abc, def join to one path",
    defects.joined_names, 1, 256, 0.1, "agreement", "^ab/cdef and abc/def have identical masks$", call="audit_streams",
)  # fmt: skip
shown(
    "fold_in by exclusive or", "JAX", "jax-ml/jax#21405", "ranks", "R",
    "with unsafe_rbg the mask of layer i at step j is that of layer j at step i",
    "the grid of layers and steps is symmetric, and its diagonal constant",
    defects.xored_keys, 1, 256, 0.1, "transposed", r"as with the seed hash\(layer\) \^ hash\(step\)",
    call="audit_streams",
)  # fmt: skip
shown(
    "seeds of neighbours", "MXNet", "include/mxnet/random_generator.h", "ranks", "D",
    "ranks of neighbouring seeds drop the same neurons, shifted",
    "one rank's mask is the other's, moved by a block: seeds s and s + 1 have 1,023 of 1,024 generators in common",
    defects.neighbouring_states, 1, 4096, 0.1, "overlaps", r"share [\d,]+ elements", (64,), call="audit_streams",
)  # fmt: skip

# ---- neurons drop together, or some never ----------------------------------------------------------------------------

shown(
    "four channels share a number", "Inductor", "pytorch/pytorch#198333", "together", "I",
    "after a transpose, compiled dropout drops channels in fours (2.13, CUDA)",
    "groups of 4 neighbours equal; the counts vary 4 times as much",
    defects.shared(faults.groups, 0.1, 4), 16, 256, 0.1, "dispersion", "^groups of 4 neighbours drop together",
)  # fmt: skip
shown(
    "every tile has one state", "tt-metal", "tenstorrent/tt-metal#4669", "together", "I",
    "dropout repeats itself from tile to tile",
    "the mask is periodic, with the size of a tile",
    defects.one_state_a_tile, 2, 4096, 0.1, "serial", "^neurons 1,024 positions apart drop together", (1024,),
)  # fmt: skip
shown(
    "one number for several neurons", "FlashAttention", "Dao-AILab/flash-attention#2439", "together", "I",
    "keeps 0.977 where 0.9 was asked for (a kernel in review)",
    "32 numbers a mask, one for each lane of a warp: threads that own different elements computed one key; the rate of "
    "a single call is a multiple of 1/32, and off by chance (how many shared a key the thread does not say)",
    defects.one_key_a_lane, 4, 1024, 0.1, "dispersion", "^neurons 32 positions apart drop together", (32,),
)  # fmt: skip
shown(
    "every thread draws the first number", "Paddle", "PaddlePaddle/Paddle#8654", "together", "I",
    "on a GPU the output is all zeros, or all ones",
    "constant rows: each thread seeds a generator with the same number",
    defects.one_state_a_tile, 24, 1024, 0.1, "dispersion", "^all neurons of a mask drop together", (1,),
)  # fmt: skip
shown(
    "all lanes of vmap share a mask", "Flax", "google/flax#4973", "together", "I",
    "a lifted vmap with one key gives every element of a batch the same mask",
    "the rows of a batch are equal",
    defects.shared(faults.strided, 0.1, 64), 6, 512, 0.1, "dispersion", "^neurons 64 positions apart drop together",
)  # fmt: skip
shown(
    "one DropBlock mask for all channels", "DropBlock", "miguelvr/dropblock#24", "together", "I",
    "all channels lose the same blocks",
    "the channels' masks are equal",
    defects.one_mask_for_all_channels, 96, 400, 0.1, "pairs", "100 positions apart drop together", (4, 10, 3),
    law=Network(*[DropBlock(10, 10, 3, p=0.1)] * 4),
)  # fmt: skip
shown(
    "the tail is constant", "Torch7", "torch/cutorch#167", "together", "I",
    "after seeding, all random numbers past column 96 are 1e-10",
    "columns 96 and on all ones",
    defects.shared(faults.with_columns, 0.1, slice(96, None), True), 64, 256, 0.1, "positions",
    "^positions 96 to 255 are never dropped$",
)  # fmt: skip
shown(
    "consecutive seeds of a small generator", "ONNX Runtime", "Dropout of onnxruntime 1.31.1 (CPU)", "together", "M",
    "the first neurons hardly change from call to call",
    "column 0 constant, the next columns periodic: each call starts minstd_rand0 at the next integer",
    defects.consecutive_seeds, 8, 256, 0.5, "reseeding",
    "^each call is reseeded with the next integer: minstd_rand0", (defects.MINSTD0,),
)  # fmt: skip
shown(
    "chunks on a lattice", "nGraph", "NervanaSystems/ngraph#3006", "together", "S",
    "some neurons hardly change from chunk to chunk of a mask",
    "a position's numbers move by a constant step: chunk k is drawn by a generator seeded base + k",
    defects.consecutive_seeds, 8, 3000, 0.5, "reseeding",
    "^each call is reseeded with the next integer: minstd_rand$", (defects.MINSTD,),
)  # fmt: skip
shown(
    "one neuron is kept by force", "MT-DNN", "namisan/mt-dnn#22", "together", "S",
    "each row keeps one random neuron, whatever it drew",
    "no row without a one, and a rate of p (1 - 1/n)",
    defects.one_is_kept, 12_288, 8, 0.1, "rate", r"consistent with p \(1 - 1/n\)",
)  # fmt: skip
shown(
    "a whole number of blocks", "PEFT", "OFT of peft 0.21.2", "together", "M",
    "drops int(p n) of n blocks: always the same number",
    "every row has as many zeros",
    defects.whole_number, 6, 64, 0.1, "dispersion", "exactly 6 neurons: a fixed count",
)  # fmt: skip
shown(
    "one drop rate for all blocks of a stage", "Transformers", "huggingface/transformers#17280", "together", "I",
    "ConvNeXt's drop rates do not grow from block to block",
    "the columns' rates are steps, not a line: all blocks of a stage have the rate of its first one",
    defects.stage_schedule, 384, 18, 0.4, "positions",
    "^positions drop at the rate of the first of their stage: 0 to 2 at 0, 3 to 5 at .*, 6 to 14 at .* and 15 to 17 at",
    ((3, 3, 9, 3),),
    law=Layer(18, np.linspace(0, 0.4, 18)),
)  # fmt: skip

# ---- the rate is slightly off ----------------------------------------------------------------------------------------

shown(
    "8 bits, rounded up", "FlashAttention", "csrc/flash_attn/flash_api.cpp", "rate", "S",
    "drops 0.1016 for p = 0.1", "26 of 256 dropped",
    defects.byte_keeps, 1024, 1024, 0.1, "rate", "26/256: p rounded up.*8-bit",
)  # fmt: skip
shown(
    "8 bits, a small p", "FlashAttention", "csrc/flash_attn/dropout.h", "rate", "S",
    "drops 0.0039 for any p below 1/255", "1 of 256 dropped, where 1 of 1,000 was asked for",
    defects.byte_keeps, 12, 1024, 0.001, "rate", "1/256: p rounded up.*8-bit",
)  # fmt: skip
shown(
    "8 bits, rounded down", "TransformerEngine", "NVIDIA/TransformerEngine#2014", "rate", "S",
    "drops 0.0977 for p = 0.1", "25 of 256 dropped",
    defects.byte_drops, 512, 1024, 0.1, "rate", "25/256: p rounded down.*8-bit",
)  # fmt: skip
shown(
    "p below one step", "TransformerEngine", "NVIDIA/TransformerEngine#2014", "wrong", "S",
    "never drops for p below 1/256", "all ones",
    defects.byte_drops, 4, 1024, 0.003, "rate", "nothing is dropped.*p is below 1/256",
)  # fmt: skip
shown(
    "p in sixteenths", "PyTorch", "pytorch/pytorch#174245 (cuDNN attention)", "rate", "I",
    "some kernels know p only to 1/16", "2 of 16 dropped for p = 0.1",
    defects.shared(faults.thresholds, 4, 2), 6, 1024, 0.1, "rate", "2/16: p rounded up.*4-bit",
)  # fmt: skip
shown(
    "bfloat16 probabilities", "JAX", "jax-ml/jax#28022", "rate", "R",
    "a keep probability of 0.95 in bfloat16 drops 0.047", "6 of 128 dropped",
    defects.keeps_below, 192, 1024, 0.05, "rate", "6/128.*p rounded down.*bfloat16", ("bfloat16", 7),
)  # fmt: skip
shown(
    "a bfloat16 probability near 1", "JAX", "jax-ml/jax#28022", "wrong", "R",
    "a keep probability of 0.995 in bfloat16 keeps all", "all ones",
    defects.keeps_below, 2, 1024, 0.005, "rate", "nothing is dropped.*p is below 1/128", ("bfloat16", 7),
)  # fmt: skip
shown(
    "float16 probabilities", "JAX", "jax-ml/jax#28130", "rate", "R",
    "a keep probability of 0.98 in float16 drops 0.0195", "20 of 1,024 dropped",
    defects.keeps_below, 3072, 1024, 0.02, "rate", "20/1024: p rounded down.*float16", ("float16", 10), slow=True,
)  # fmt: skip
shown(
    "bfloat16 uniforms", "TensorFlow", "tf.nn.dropout of 2.21", "rate", "M",
    "drops 0.3047 for p = 0.3 in bfloat16; Keras on TensorFlow does the same", "39 of 128 dropped",
    defects.drops_below, 256, 1024, 0.3, "rate", "39/128: p rounded up.*bfloat16", ("bfloat16", 7),
)  # fmt: skip
shown(
    "float16 uniforms", "TensorFlow", "tf.nn.dropout of 2.21", "rate", "M",
    "drops 0.0508 for p = 0.05 in float16", "52 of 1,024 dropped",
    defects.drops_below, 3072, 1024, 0.05, "rate", "52/1024.*float16", ("float16", 10), slow=True,
)  # fmt: skip
shown(
    "sums in bfloat16", "Transformers", "DropPath of transformers 5.23 and 42 more of its files", "rate", "M",
    "drops 0.0117 for 0.01, 0.0039 for 0.002, and never for 0.001",
    "3 of 256 samples dropped: floor(rand + keep) in bfloat16",
    defects.floor_of_sum, 384, 256, 0.01, "rate", "3/256: p rounded up.*a sum in bfloat16",
)  # fmt: skip
shown(
    "fast dropout", "Paddle", "paddle/fluid/operators/dropout_op.h", "rate", "S",
    "drops 0.2031 for p = 0.2", "52 of 256 dropped",
    defects.shared(faults.thresholds, 8, 52), 256, 1024, 0.2, "rate", "52/256: p rounded up",
)  # fmt: skip
shown(
    "blocks on the whole map", "timm", "DropBlock2d of timm 1.0.31", "wrong", "M",
    "for p = 0.1, blocks of 7 x 7 drop 13% of a map of 28 x 28, 21% of 14 x 14, 93% of 7 x 7",
    "too many zeros, and blocks that are cut at the border",
    defects.seeds_on_the_whole_map, 128, 784, 0.1, "positions",
    "^drop rates by position fit another law: seeds on the whole map, with the gamma for seeds inside$",
    (28, 7), law=DropBlock(28, 28, 7, p=0.1),
)  # fmt: skip
shown(
    "blocks cut at the border", "DropBlock", "dropblock 0.3.0", "wrong", "M",
    "for p = 0.1, drops 7.5% of a map of 14 x 14, and less at the border", "fewer zeros in the outer rows and columns",
    defects.cut_blocks, 256, 784, 0.1, "positions",
    r"^drop rates by position fit another law: seeds on the whole map, with gamma = p / block\^2$", (28, 7),
    law=DropBlock(28, 28, 7, p=0.1),
)  # fmt: skip

# ---- wrong by far, or nothing ----------------------------------------------------------------------------------------

shown(
    "an overflow in float16", "JAX", "jax-ml/jax#28039", "wrong", "S",
    "a bernoulli of float16 is always True", "all ones",
    defects.overflowing, 1, 1024, 0.1, "rate", "nothing is dropped",
)  # fmt: skip
shown(
    "p is accepted and not used", "PyTorch MPS", "pytorch/pytorch#184126, pytorch/torchtune#996", "wrong", "I",
    "attention on Apple devices ignores dropout_p", "all ones",
    defects.shared(faults.at_rate, 0.0), 1, 1024, 0.1, "rate", "nothing is dropped",
)  # fmt: skip
shown(
    "int(p n) is 0", "PEFT", "OFT of peft 0.21.2", "wrong", "M",
    "drops none of 8 blocks for p = 0.1", "all ones",
    defects.whole_number, 12, 8, 0.1, "rate", "nothing is dropped",
)  # fmt: skip
shown(
    "Monte Carlo dropout is off", "DeepChem", "deepchem/deepchem#3115", "wrong", "I",
    "the samples of an uncertainty estimate are all equal", "all ones",
    defects.shared(faults.at_rate, 0.0), 1, 512, 0.25, "rate", "nothing is dropped",
)  # fmt: skip
shown(
    "uniforms that are 0", "PyTorch/XLA", "pytorch/xla#354", "wrong", "I",
    "with seed 0 the TPU's uniform numbers are all 0", "all zeros",
    defects.shared(faults.at_rate, 1.0), 1, 512, 0.5, "rate", "everything is dropped",
)  # fmt: skip
shown(
    "zeros at p = 0", "Boltz", "jwohlwend/boltz#553", "wrong", "R",
    "a pair model drops rows at p = 0",
    "1 of 512 dropped where none may be: rand > p, with a bfloat16 rand that is 0 in one draw of 512",
    defects.zero_is_dropped, 3, 512, 0.0, "edges", "of p = 0 (is|are) dropped, 1 in .*: as with <= for <",
)  # fmt: skip
shown(
    "p = 0 drops", "Paddle", "dropout_op.h; apache/mxnet#9816, ROCm/tensorflow-upstream#2128", "wrong", "S",
    "drops one neuron in 256 at p = 0", "1 of 256 dropped where none may be: <= for <",
    defects.less_or_equal, 2, 512, 0.0, "edges", "of p = 0 (is|are) dropped, 1 in .*: as with <= for <", (8,),
)  # fmt: skip
shown(
    "bernoulli(0) gives 1", "PyTorch", "pytorch/pytorch#15356, #26807", "wrong", "I",
    "of 1e8 draws of torch.bernoulli(0) a few are 1", "one in 2^24 dropped at p = 0",
    defects.rarely_zero, 64, 2**20, 0.0, "edges",
    "of p = 0 (is|are) dropped, 1 in .*: as with <= for <", (24,), slow=True,
)  # fmt: skip
shown(
    "rand gives 1", "PyTorch", "pytorch/pytorch#96947, #197079", "wrong", "I",
    "a layer of p = 0 drops a few neurons in float16",
    "2 in 10,000 dropped at p = 0: rand of 16 bits can be 1.0, and rand < 1 - p keeps",
    defects.never_reached, 12, 1024, 0.0, "edges",
    "of p = 0 (is|are) dropped, 1 in .*: as with <= for <", ("float16", 11),
)  # fmt: skip

# ---- values ----------------------------------------------------------------------------------------------------------

shown(
    "scaled by 1/p", "Kaldi", "kaldi-asr/kaldi#2814, lmjohns3/theanets#123", "scale", "I",
    "activations are ten times too large", "kept ones become 10",
    defects.scaled_by, 1, 256, 0.1, "scale", "1/p: keep probability given as p", (10.0,),
)  # fmt: skip
shown(
    "not scaled", "shainet", "NeuraLegion/shainet#106", "scale", "I",
    "outputs shrink by p in training", "kept ones stay 1",
    defects.scaled_by, 1, 256, 0.2, "scale", "not scaled", (1.0,),
)  # fmt: skip
shown(
    "the backward pass scales by p", "apex", "NVIDIA/apex#816", "gradient", "I",
    "gradients of fused attention are too small", "gradients of ones are p where kept",
    defects.scaled_by, 1, 256, 0.1, "scale", "the scale is p$", (0.1,),
)  # fmt: skip
shown(
    "a mask that is never filled", "AiDotNet", "ooples/AiDotNet#732", "scale", "I",
    "the layer's output is 0", "all zeros",
    defects.unfilled, 1, 256, 0.1, "rate", "everything is dropped",
)  # fmt: skip
shown(
    "a float32 scale in float64", "ONNX Runtime", "Dropout of onnxruntime 1.31.1 and paddle 3.3.1", "scale", "M",
    "float64 outputs are right to 8 digits only", "kept ones become 1/(1 - p) as float32 rounds it",
    defects.scale_in_float32, 1, 256, 0.1, "scale", "rounded to float32, in outputs of float64",
)  # fmt: skip
shown(
    "values in other places", "PyTorch", "pytorch/pytorch#47176", "scale", "I",
    "channels-last inputs come out permuted",
    "the mask is right, but not what it keeps: values are written as to another layout of memory",
    defects.wrong_places, 1, 256, 0.1, "scale",
    r"their input but times another neuron's: that of x.reshape\(8, 8, 4\).transpose\(2, 0, 1\), channels first",
    ((4, 8, 8),),
)  # fmt: skip
shown(
    "infinity becomes NaN", "PyTorch", "pytorch/pytorch#59421", "scale", "R",
    "dropout of an infinity is NaN on the CPU, 0 on CUDA", "NaN where an infinite input is dropped",
    defects.multiplied, 6, 64, 0.2, "edges",
    "outputs? (is|are) NaN: 0 times an infinite input: the mask is multiplied", (np.inf,),
)  # fmt: skip
shown(
    "p = 1 gives NaN", "Flax", "google/flax#2055, pytorch/pytorch#100025, #107942", "scale", "I",
    "at p = 1 outputs or gradients are NaN, or the compiler divides by zero", "NaN everywhere",
    defects.nothing_left, 1, 256, 1.0, "outputs",
    r"outputs are NaN where the input is not: 0 times 1/\(1 - p\), which is infinite at p = 1", call="assert_dropout",
)  # fmt: skip

# ---- the second pass -------------------------------------------------------------------------------------------------

shown(
    "recomputed under new masks", "OLMo-core",
    "allenai/OLMo-core#828, openai/guided-diffusion#167, pytorch/xla#4690", "gradient", "I",
    "activation checkpointing trains worse: cross entropy 2.49 against 2.19",
    "forward and recomputed masks agree as chance has it",
    defects.drawn_again, 1, 256, 0.1, "identical", "as often as independent masks", (("forward", "recomputed"),),
    call="audit_streams(expect='identical')",
)  # fmt: skip
shown(
    "the gradient's mask is another one", "Inductor",
    "pytorch/pytorch#198333, #190717, microsoft/onnxruntime#19715", "gradient", "I",
    "compiled training does not converge as eager training does",
    "forward mask and gradient mask agree as chance has it",
    defects.drawn_again, 1, 256, 0.1, "identical", "as often as independent masks", (("forward", "gradient"),),
    call="audit_streams(expect='identical')",
)  # fmt: skip
shown(
    "drawn in another order", "Inductor", "pytorch/pytorch#192635", "gradient", "I",
    "compiled code draws the layers' masks in another order than eager code",
    "the same masks, at other calls",
    defects.another_order, 2, 256, 0.1, "identical",
    r"^compiled has eager's 4 masks in another order: its call 1 is call 0 of eager$",
    call="audit_streams(expect='identical')",
)  # fmt: skip
shown(
    "laid along another axis", "Inductor", "pytorch/pytorch#174078", "gradient", "I",
    "after a transpose compiled dropout differs from eager dropout at one seed",
    "each mask is the other, its neurons in another order",
    defects.another_layout, 1, 256, 0.1, "identical",
    r"^masks of compiled are those of eager, as \(16, 16\), transposed$", (16,),
    call="audit_streams(expect='identical')",
)  # fmt: skip
shown(
    "vmap is not the loop", "JAX", "jax-ml/jax#19085, #34497", "gradient", "R",
    "with rbg keys vmap gives other masks than a loop",
    "the first lane agrees, no other does",
    defects.first_key_only, 2, 256, 0.1, "identical", "the same up to call 0 and differ from call 1 on",
    call="audit_streams(expect='identical')",
)  # fmt: skip
shown(
    "the address of the seed as seed", "xFormers", "facebookresearch/xformers#173", "gradient", "I",
    "the same seed gives other masks in the next run",
    "two runs agree as chance has it",
    defects.drawn_again, 1, 256, 0.2, "identical", "as often as independent masks", (("run 1", "run 2"),),
    call="audit_streams(expect='identical')",
)  # fmt: skip
shown(
    "the mask inferred from outputs", "candle-org", "candle-org/candle#82, ROCm/tensorflow-upstream#1012",
    "gradient", "I",
    "no gradient flows where the input was 0",
    "after a ReLU half of the gradients are 0 as if dropped",
    defects.inferred_from_outputs, 1, 256, 0.1, "rate", "zeros of a ReLU",
)  # fmt: skip

# ---- evaluation ------------------------------------------------------------------------------------------------------

shown(
    "active in evaluation", "PyTorch",
    "pytorch/pytorch#124464, #99293, huggingface/pytorch-image-models#1978, pytorch/torchtune#1791, suno-ai/bark#662, "
    "facebookresearch/vjepa2#160, NVIDIA/torch-harmonics#221", "evaluation", "I",
    "predictions change from call to call: attention drops in evaluation mode",
    "zeros where none may be",
    defects.active_in_evaluation, 1, 1024, 0.1, "evaluate", "of them are 0: dropout is active$", call="assert_dropout",
)  # fmt: skip
shown(
    "evaluation gives ones", "nGraph", "NervanaSystems/ngraph#3006", "evaluation", "S",
    "in evaluation the output is 1, whatever the input", "no zeros, but not the input either",
    defects.ones_in_evaluation, 1, 1024, 0.1, "evaluate", "all of them are 1, whatever the input$",
    call="assert_dropout",
)  # fmt: skip
shown(
    "no scale in evaluation", "Composer", "mosaicml/composer#372", "evaluation", "I",
    "outputs are larger in evaluation than in training", "kept values stay 1 in training, and in evaluation too",
    defects.unscaled_in_evaluation, 1, 1024, 0.2, "evaluate", "they are the input itself, not multiplied by 1 - p$",
    call="assert_dropout",
)  # fmt: skip
shown(
    "off after an evaluation", "Megatron-LM", "NVIDIA/Megatron-LM#411, #318", "evaluation", "I",
    "after the first evaluation p stays 0, for the rest of the run", "all ones from some step on",
    defects.off_after_evaluation, 64, 256, 0.1, "duplicates", "drops nothing, as step 33 did", call="Monitor",
)  # fmt: skip
shown(
    "off from some call on", "Megatron-LM", "NVIDIA/Megatron-LM#411, in a recording", "evaluation", "I",
    "after the first evaluation p stays 0, for the rest of the run", "all ones from some row on",
    defects.off_after_evaluation, 64, 256, 0.1, "drift", r"^calls 32 to 63 drop nothing: dropout is off from then on$",
)  # fmt: skip

# ---- streams ---------------------------------------------------------------------------------------------------------

shown(
    "an offset of 20, whatever the size", "PyTorch", "pytorch/pytorch#9795 (fuser)", "streams", "S",
    "a fused kernel draws part of the last call's numbers again",
    "the end of a row is the beginning of the next one",
    defects.offset_too_small, 3, 1024, 0.1, "overlaps", "^calls overlap by 384 elements: each begins",
    (32, 20),
)  # fmt: skip
shown(
    "an offset of 1 for 4 numbers", "DeepSpeed", "launch_dropout of the transformer kernels", "streams", "D",
    "a call draws three of four numbers of the call before again",
    "element 4j + 1 of a row is element 4j of the next one, at sizes that the grid does not divide",
    defects.four_by_one, 192, 1000, 0.1, "lags", r"^position 1 of a call is position 0 of the next one \(750 such",
)  # fmt: skip

# ---- whole models ----------------------------------------------------------------------------------------------------

MODEL = {"call": "audit_model", "needs": "torch"}
shown(
    "attention without the training flag", "PyTorch", "pytorch/pytorch#124464, huggingface/pytorch-image-models#1978",
    "evaluation", "I",
    "a model in evaluation mode gives other outputs at each call", "masks are drawn in evaluation mode",
    of_model("active_in_evaluation"), 2, 64, 0.1, "evaluation", "^draws in evaluation mode at inner", **MODEL,
)  # fmt: skip
shown(
    "off after an evaluation, in a model", "Megatron-LM", "NVIDIA/Megatron-LM#411, #318", "evaluation", "I",
    "after the first evaluation p stays 0, for the rest of the run", "no mask is drawn after an evaluation",
    of_model("off_after_evaluation"), 2, 64, 0.1, "state", "back in training, nothing is drawn at inner", **MODEL,
)  # fmt: skip
shown(
    "a dropout that is never called", "torchtune",
    "pytorch/torchtune#996, foundation-model-stack/fms-acceleration#97", "wrong", "I",
    "adapters take a dropout and do not apply it", "no mask is drawn",
    of_model("never_applied"), 2, 64, 0.1, "coverage",
    "^1 of 1 declared rate: inner.dropout declares p = 0.1 and never drew", **MODEL,
)  # fmt: skip
shown(
    "recomputed under new masks, in a model", "guided-diffusion", "openai/guided-diffusion#167", "gradient", "I",
    "with activation checkpointing the loss diverges", "the recomputed masks are not those of the forward pass",
    of_model("recomputed_anew"), 2, 64, 0.1, "recomputed", "recomputed masks? differs? from th(at|ose) of the forward",
    **MODEL,
)  # fmt: skip
shown(
    "the gradient's mask inferred from outputs", "candle-org", "candle-org/candle#82, ROCm/tensorflow-upstream#1012",
    "gradient", "I",
    "no gradient flows where the input was 0", "gradients are 0 where the mask is 1",
    of_model("inferred_from_outputs"), 2, 64, 0.1, "gradient",
    "at inner.FromOutputs are zero, though the mask keeps, just where the output is 0: the mask is inferred", **MODEL,
)  # fmt: skip
shown(
    "a seed that is not the model's", "xFormers", "facebookresearch/xformers#173", "gradient", "I",
    "two runs of one seed differ", "one seed gives other masks",
    of_model("seeds_of_chance"), 2, 64, 0.1, "seeds",
    "^the same seed gives other masks at inner.*: drawn from a generator that the seed does not set$", **MODEL,
)  # fmt: skip
shown(
    "two operators of one seed", "Paddle", "PaddlePaddle/Paddle#7796", "ranks", "I",
    "two dropout layers drop the same neurons", "the two layers' masks are equal",
    of_model("one_seed"), 2, 64, 0.2, "sites", "^agreement: .* have identical masks$", **MODEL,
)  # fmt: skip


# ---- what the audit does not see -------------------------------------------------------------------------------------


class Unseen(NamedTuple):
    """A report that no audit of masks decides, and why."""

    project: str
    reference: str
    symptom: str
    why: str


UNSEEN = (
    Unseen(
        "PyTorch", "pytorch/pytorch#132395", "as above, in fewer than some 10,000 calls of 256 neurons",
        "two windows of a cycle of 2^31 overlap in N^2 / (2^31 n) pairs of calls, for N neurons in all: in 1,000,000 "
        "neurons of masks of 256 that is less than two pairs, and in 100,000 most likely none",
    ),
    Unseen(
        "JAX, PyTorch MPS, DeepChem, torchtune", "jax-ml/jax#28039, pytorch/pytorch#184126, deepchem/deepchem#3115",
        "nothing is dropped",
        "that is seen, but not why: an overflow, an argument that is ignored and evaluation mode all give masks of "
        "ones; of a whole model, audit_model says which module declares p and never drew",
    ),
    Unseen(
        "JAX", "jax-ml/jax#28022, float32", "p below 1e-7 is wrong even in float32",
        "a rate of 1e-7 that is off by as much needs hundreds of millions of neurons",
    ),
    Unseen(
        "TensorFlow", "tensorflow/tensorflow#38922", "an LSTM cell draws its mask anew at each call",
        "whether a mask should stay is a matter of what was declared: hold the steps of a sequence against each other "
        "by audit_streams(expect='identical')",
    ),
    Unseen(
        "PyTorch", "pytorch/pytorch#767", "the state of recurrent dropout is shared by GPUs",
        "a race on one state: each device's masks are right, and they differ; only a rerun of the same seed shows it",
    ),
    Unseen(
        "PyTorch", "pytorch/pytorch#100025, #107942; PaddlePaddle/Paddle#26977", "p = 1 ends in an exception",
        "there is no mask to look at: the error itself is the finding",
    ),
    Unseen(
        "PyTorch", "pytorch/pytorch#126066", "two calls of randint of a million share 115,549 numbers",
        "no dropout: the same offset error in masks is \"an offset of 20, whatever the size\"",
    ),
    Unseen(
        "Keras, PyTorch, TensorFlow.js", "keras-team/keras#22311, pytorch/pytorch#7286, tensorflow/tfjs#1895",
        "tests of dropout that fail by chance, in 3.5% or 23% of their runs",
        "the masks are right and the tests are not: assert_dropout fails a right implementation once in a million runs",
    ),
    Unseen(
        "neural-fortran", "modern-fortran/neural-fortran#194", "a fixed count of dropped neurons, for a steady test",
        "by design, once it is declared: hold it against FixedCount",
    ),
)  # fmt: skip
