"""The functions that `docs/frameworks.py` audits: dropout of frameworks, and of libraries that are built on them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

import dropstats as ds

N = 8192
DTYPES = ("float32", "bfloat16", "float16")
RATES = (0.1, 0.3)
# Maps of DropBlock, and its blocks.
SIDE, BLOCK = 14, 7


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
    law: Any = None  # what is declared, where that is not a layer of p


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


def equinox_cases() -> Iterator[Case]:
    """Yield the cases of equinox."""
    import equinox
    import jax
    from jax import numpy as jnp

    keys = _jax_keys()
    for dtype in DTYPES:
        for p in RATES:
            layer = equinox.nn.Dropout(p)
            apply = jax.jit(lambda x, key, layer=layer: layer(x, key=key))
            call = lambda x, apply=apply: apply(x, next(keys))  # noqa: E731
            yield Case(f"equinox {equinox.__version__}", "nn.Dropout", dtype, p, call, jnp.ones(N, dtype))


def haiku_cases() -> Iterator[Case]:
    """Yield the cases of haiku."""
    import haiku
    import jax
    from jax import numpy as jnp

    keys = _jax_keys()
    for dtype in DTYPES:
        for p in RATES:
            apply = jax.jit(lambda x, key, p=p: haiku.dropout(key, p, x))
            call = lambda x, apply=apply: apply(x, next(keys))  # noqa: E731
            yield Case(f"haiku {haiku.__version__}", "dropout", dtype, p, call, jnp.ones(N, dtype))


def mlx_cases() -> Iterator[Case]:
    """Yield the cases of mlx."""
    import mlx.core as mx
    from mlx import nn

    mx.random.seed(0)
    for dtype in DTYPES:
        for p in RATES:
            yield Case(f"mlx {version('mlx')}", "nn.Dropout", dtype, p, nn.Dropout(p), mx.ones(N, getattr(mx, dtype)))


def paddle_cases() -> Iterator[Case]:
    """Yield the cases of paddle."""
    import paddle

    paddle.seed(0)
    for dtype in ("float32", "bfloat16", "float16", "float64"):
        for p in RATES:
            call = lambda x, p=p: paddle.nn.functional.dropout(x, p)  # noqa: E731
            name = f"paddle {paddle.__version__}"
            yield Case(name, "nn.functional.dropout", dtype, p, call, paddle.ones([N], "float32").astype(dtype))


def onnxruntime_cases() -> Iterator[Case]:
    """Yield the cases of onnxruntime: a graph of one node, in training mode."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    onnxruntime.set_seed(42)
    for dtype, kind in (("float32", TensorProto.FLOAT), ("float64", TensorProto.DOUBLE)):
        for p in RATES:
            graph = helper.make_graph(
                [helper.make_node("Dropout", ["x", "ratio", "training"], ["y"])],
                "dropout",
                [helper.make_tensor_value_info("x", kind, [N])],
                [helper.make_tensor_value_info("y", kind, [N])],
                [
                    helper.make_tensor("ratio", TensorProto.FLOAT, [], [p]),
                    helper.make_tensor("training", TensorProto.BOOL, [], [True]),
                ],
            )
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
            onnx.checker.check_model(model)
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            call = lambda x, session=session: session.run(["y"], {"x": x})[0]  # noqa: E731
            yield Case(f"onnxruntime {onnxruntime.__version__}", "Dropout", dtype, p, call, np.ones(N, dtype))


def timm_cases() -> Iterator[Case]:
    """Yield the cases of timm: stochastic depth of each sample, squares, and patches."""
    import timm
    import torch
    from timm.layers import DropBlock2d, DropPath, PatchDropout

    torch.manual_seed(0)
    name = f"timm {timm.__version__}, torch {_backend_version('torch')}"
    yield from _by_sample(name, "layers.DropPath", DropPath)
    for p in RATES:
        yield _squares(name, "layers.DropBlock2d", p, DropBlock2d(p, BLOCK))
        patches = PatchDropout(p, num_prefix_tokens=0)
        tokens = torch.arange(196.0)[None, :, None]
        mask = lambda x, patches=patches: torch.isin(x, patches(x)).reshape(-1)  # noqa: E731
        law = ds.FixedCount(196, 196 - int(196 * (1 - p)))
        yield Case(name, "layers.PatchDropout", "float32", p, mask, tokens, law=law)


def transformers_cases() -> Iterator[Case]:
    """Yield the cases of transformers: the stochastic depth that its vision models share."""
    import torch
    import transformers
    from transformers.models.convnext.modeling_convnext import ConvNextDropPath

    torch.manual_seed(0)
    name = f"transformers {transformers.__version__}, torch {_backend_version('torch')}"
    yield from _by_sample(name, "ConvNextDropPath", ConvNextDropPath)


def torchvision_cases() -> Iterator[Case]:
    """Yield the cases of torchvision: stochastic depth of each sample, and squares."""
    import torch
    import torchvision

    torch.manual_seed(0)
    name = f"torchvision {_backend_version('torchvision')}"
    yield from _by_sample(name, "ops.StochasticDepth", lambda p: torchvision.ops.StochasticDepth(p, "row"))
    for p in RATES:
        yield _squares(name, "ops.DropBlock2d", p, torchvision.ops.DropBlock2d(p, BLOCK))


def torch_geometric_cases() -> Iterator[Case]:
    """Yield the cases of torch_geometric: edges and nodes of a ring."""
    import torch
    import torch_geometric
    from torch_geometric.utils import dropout_edge, dropout_node

    torch.manual_seed(0)
    name = f"torch_geometric {torch_geometric.__version__}"
    ring = torch.stack([torch.arange(N), (torch.arange(N) + 1) % N])
    for p in RATES:
        yield Case(name, "utils.dropout_edge", "float32", p, lambda x, p=p: dropout_edge(x, p)[1], ring)
        yield Case(name, "utils.dropout_node", "float32", p, lambda x, p=p: dropout_node(x, p)[2], ring)


def peft_cases() -> Iterator[Case]:
    """Yield the cases of peft: the blocks of OFT that are replaced by the identity."""
    import peft
    import torch
    from peft.tuners.oft.layer import MultiplicativeDropoutLayer

    torch.manual_seed(0)
    for p in RATES:
        layer, blocks = MultiplicativeDropoutLayer(p), torch.full((8, 2, 2), 2.0)
        mask = lambda x, layer=layer: layer(x)[:, 0, 0] == 2  # noqa: E731
        yield Case(f"peft {peft.__version__}", "oft.MultiplicativeDropoutLayer(8 blocks)", "float32", p, mask, blocks)


def dropblock_cases() -> Iterator[Case]:
    """Yield the cases of dropblock."""
    import torch
    from dropblock import DropBlock2D

    torch.manual_seed(0)
    for p in RATES:
        yield _squares(f"dropblock {version('dropblock')}", "DropBlock2D", p, DropBlock2D(p, BLOCK))


def _by_sample(name: str, function: str, make: Callable[[float], Any]) -> Iterator[Case]:
    """Yield the cases of a torch module that drops whole samples of a batch."""
    import torch

    for dtype in DTYPES:
        for p in RATES:
            yield Case(name, function, dtype, p, make(p), torch.ones(N, 1, dtype=getattr(torch, dtype)))


def _squares(name: str, function: str, p: float, module: Any) -> Case:
    """Return the case of a torch module that drops squares of a map."""
    import torch

    law = ds.DropBlock(SIDE, SIDE, BLOCK, p=p)
    function = f"{function}({SIDE} x {SIDE}, {BLOCK} x {BLOCK})"
    return Case(name, function, "float32", p, module, torch.ones(1, 1, SIDE, SIDE), law=law)


FRAMEWORKS = {
    "torch": torch_cases,
    "jax": jax_cases,
    "flax": flax_cases,
    "tensorflow": tensorflow_cases,
    "keras": keras_cases,
    "equinox": equinox_cases,
    "haiku": haiku_cases,
    "mlx": mlx_cases,
    "paddle": paddle_cases,
    "onnxruntime": onnxruntime_cases,
    "torchvision": torchvision_cases,
    "timm": timm_cases,
    "transformers": transformers_cases,
    "torch_geometric": torch_geometric_cases,
    "peft": peft_cases,
    "dropblock": dropblock_cases,
}
