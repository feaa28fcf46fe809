"""Reported dropout bugs of whole models, as small torch modules; see tests/museum.py.

Each function takes (rng, mended, trials, n, p) and returns a model and its inputs, for `audit_model`.
"""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class Around(nn.Module):
    """A layer, something inner, and another layer."""

    def __init__(self, inner, n):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(16, n), inner, nn.Linear(n, 4)

    def forward(self, x):
        return self.last(self.inner(functional.relu(self.first(x))))


def around(rng, inner, n):
    torch.manual_seed(int(rng.integers(2**31)))
    return Around(inner, n), torch.randn(4, 16)


class Flagless(nn.Module):
    """Attention whose dropout does not ask for the training flag."""

    def __init__(self, p, mended):
        super().__init__()
        self.p, self.mended = p, mended

    def forward(self, x):
        q = x.unflatten(-1, (1, 4, -1))
        p = self.p if self.training or not self.mended else 0.0
        return functional.scaled_dot_product_attention(q, q, q, dropout_p=p).flatten(1)


def active_in_evaluation(rng, mended, trials, n, p):
    return around(rng, Flagless(p, mended), n)


class Adapter(nn.Module):
    """A low-rank adapter that takes a dropout and does not apply it."""

    def __init__(self, n, p, mended):
        super().__init__()
        self.dropout, self.mended = nn.Dropout(p), mended
        self.down, self.up = nn.Linear(n, 4), nn.Linear(4, n)

    def forward(self, x):
        return x + self.up(self.down(self.dropout(x) if self.mended else x))


def never_applied(rng, mended, trials, n, p):
    return around(rng, Adapter(n, p, mended), n)


class Forgetful(nn.Module):
    """Sets p = 0 in evaluation, and does not set it back."""

    def __init__(self, p, mended):
        super().__init__()
        self.p, self.mended = p, mended

    def forward(self, x):
        if self.mended:
            return functional.dropout(x, self.p, self.training)
        if not self.training:
            self.p = 0.0
        return functional.dropout(x, self.p) if self.p else x


def off_after_evaluation(rng, mended, trials, n, p):
    return around(rng, Forgetful(p, mended), n)


class Checkpointed(nn.Module):
    """Activation checkpointing that does not restore the random state."""

    def __init__(self, n, p, mended):
        super().__init__()
        self.inner, self.mended = nn.Sequential(nn.Linear(n, n), nn.Dropout(p)), mended

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False, preserve_rng_state=self.mended)


def recomputed_anew(rng, mended, trials, n, p):
    return around(rng, Checkpointed(n, p, mended), n)


class FromOutputs(torch.autograd.Function):
    """Dropout whose backward pass takes its mask from the outputs that are not 0."""

    @staticmethod
    def forward(context, x, p, mended):
        mask = torch.bernoulli(torch.full_like(x, 1 - p)) / (1 - p)
        context.save_for_backward(mask if mended else (x * mask != 0) / (1 - p))
        return x * mask

    @staticmethod
    def backward(context, gradient):
        return gradient * context.saved_tensors[0], None, None


class Inferring(nn.Module):
    def __init__(self, p, mended):
        super().__init__()
        self.p, self.mended = p, mended

    def forward(self, x):
        return FromOutputs.apply(x, self.p, self.mended) if self.training else x


def inferred_from_outputs(rng, mended, trials, n, p):
    return around(rng, Inferring(p, mended), n)


class Reseeding(nn.Module):
    """Two dropout layers that draw from generators of their own, seeded by what `seeds` gives."""

    def __init__(self, p, seeds):
        super().__init__()
        self.p, self.seeds = p, seeds

    def forward(self, x):
        if not self.training:
            return x
        for seed in self.seeds():
            mask = torch.bernoulli(torch.full_like(x, 1 - self.p), generator=torch.Generator().manual_seed(seed))
            x = x * mask / (1 - self.p)
        return x


def fresh_seeds():
    return torch.randint(2**31, (2,)).tolist()


def seeds_of_chance(rng, mended, trials, n, p):
    """The seed is what lies at an address, so that the model's own seed does not matter."""
    return around(rng, Reseeding(p, fresh_seeds if mended else lambda: rng.integers(2**31, size=2).tolist()), n)


def one_seed(rng, mended, trials, n, p):
    """Two operators always start from the same seed."""
    seed = int(rng.integers(2**31))

    def same():
        return [seed + int(torch.randint(2**31, ()))] * 2

    return around(rng, Reseeding(p, fresh_seeds if mended else same), n)
