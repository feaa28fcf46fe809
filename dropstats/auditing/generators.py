"""Weak generators of random numbers, and what their first numbers are for one seed after the other."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]
Phases = NDArray[np.complex64]

_32, _48 = np.uint64(2**32 - 1), np.uint64(2**48 - 1)


class Generator(NamedTuple):
    """A generator by its first numbers in [0, 1) after seeding: of an array of seeds, so many each."""

    name: str
    uniforms: Callable[[Words, int], Floats]


def _congruential(
    multiplier: int, increment: int, modulus: int, each: int = 1, first: int = 1
) -> Callable[..., Floats]:
    """Return the numbers of x -> (multiplier x + increment) mod modulus, every so manieth, from the `first` on."""

    def uniforms(seeds: Words, count: int) -> Floats:
        numbers, power, added = [], 1, 0
        for step in range(first + each * count):
            if step >= first and (step - first) % each == 0:
                state = seeds * np.uint64(power) + np.uint64(added)  # modulo 2^64, of which a power of two is a divisor
                numbers.append(state % np.uint64(modulus) if modulus < 2**64 else state)
            power, added = power * multiplier % modulus, (added * multiplier + increment) % modulus
        return np.stack(numbers[:count], axis=1) / float(modulus)

    return uniforms


def _rand48(seeds: Words, count: int) -> Floats:
    return _congruential(0x5DEECE66D, 11, 2**48)((seeds << np.uint64(16)) + np.uint64(0x330E), count)


def _java(each: int) -> Callable[[Words, int], Floats]:
    """Return Java's nextFloat, or, of every second number the upper bits, nextDouble."""
    numbers = _congruential(0x5DEECE66D, 11, 2**48, each)
    return lambda seeds, count: numbers((seeds ^ np.uint64(0x5DEECE66D)) & _48, count)


def _xorshift32(seeds: Words, count: int) -> Floats:
    x, numbers = seeds & _32, []
    for _ in range(count):
        x = x ^ (x << np.uint64(13)) & _32
        x = x ^ (x >> np.uint64(17))
        x = x ^ (x << np.uint64(5)) & _32
        numbers.append(x)
    return np.stack(numbers, axis=1) / 2.0**32


def _xorshift64(seeds: Words, count: int) -> Floats:
    x, numbers = seeds, []
    for _ in range(count):
        x = x ^ (x << np.uint64(13))
        x = x ^ (x >> np.uint64(7))
        x = x ^ (x << np.uint64(17))
        numbers.append(x)
    return np.stack(numbers, axis=1) / 2.0**64


def _xorshift128(seeds: Words, count: int) -> Floats:
    x, (y, z, w) = seeds & _32, (np.full(seeds.shape, k, np.uint64) for k in (362436069, 521288629, 88675123))
    numbers = []
    for _ in range(count):
        t = (x ^ (x << np.uint64(11))) & _32
        x, y, z, w = y, z, w, w ^ (w >> np.uint64(19)) ^ t ^ (t >> np.uint64(8))
        numbers.append(w)
    return np.stack(numbers, axis=1) / 2.0**32


# Of these each number goes up by a constant, modulo 1, from one seed to the next.
LATTICES = (
    Generator("minstd_rand0", _congruential(16807, 0, 2**31 - 1)),
    Generator("minstd_rand0, two numbers a neuron", _congruential(16807, 0, 2**31 - 1, each=2, first=2)),
    Generator("minstd_rand", _congruential(48271, 0, 2**31 - 1)),
    Generator("minstd_rand, two numbers a neuron", _congruential(48271, 0, 2**31 - 1, each=2, first=2)),
    Generator("MCG31", _congruential(1132489760, 0, 2**31 - 1, first=0)),
    Generator("drand48", _rand48),
    Generator("Visual C's rand", _congruential(214013, 2531011, 2**31)),
    Generator("the generator of Numerical Recipes", _congruential(1664525, 1013904223, 2**32)),
    Generator("the generator of MMIX", _congruential(6364136223846793005, 1442695040888963407, 2**64)),
)
# Of these they do not.
SCRAMBLED = (
    Generator("Java's Random.nextFloat", _java(1)),
    Generator("Java's Random.nextDouble", _java(2)),
    Generator("xorshift32", _xorshift32),
    Generator("xorshift64", _xorshift64),
    Generator("xorshift128", _xorshift128),
)


@cache
def first_numbers(generator: Generator, seeds: int, count: int) -> NDArray[np.float32]:
    """Return the first numbers after each seed from 0 on, shape (seeds, count)."""
    return generator.uniforms(np.arange(seeds, dtype=np.uint64), count).astype(np.float32)


@cache
def steps(generator: Generator, count: int) -> Floats:
    """Return by how much each of the first numbers of a lattice goes up with the seed, modulo 1, shape (count,)."""
    one, two = generator.uniforms(np.array([1000, 1001], np.uint64), count)
    return np.asarray((two - one) % 1.0)


@cache
def phases(count: int, calls: int, strides: int) -> Phases:
    """Return exp(-2 pi i t d), d the steps of each lattice and stride of seeds, t the call, shape (., count, calls)."""
    d = np.concatenate([stride * np.stack([steps(one, count) for one in LATTICES]) for stride in range(1, strides + 1)])
    turns = np.multiply.outer(d, np.arange(calls)) % 1.0
    return np.asarray(np.exp(-2j * np.pi * turns), dtype=np.complex64)
