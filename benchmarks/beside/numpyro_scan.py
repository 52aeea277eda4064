"""NumPyro: `SVI.update` under `lax.scan` over the steps of an epoch, compiled once; networks of stax.

On images it is faster otherwise, and so it is measured. XLA does the convolutions of a loop by no fast routine on a
processor, so there is a call for each step. The gradient of a transposed convolution is slow as well, so its decoder
has 2 × 2 convolutions to four times the channels, whose cells are put side by side (Shi et al. 2016, 1609.05158).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array, lax, random
from jax.example_libraries import stax
from numpyro.distributions.flows import InverseAutoregressiveTransform
from numpyro.infer import SVI, Trace_ELBO
from numpyro.nn import AutoregressiveNN

from beside.cases import BLOCK, CHANNELS, DRAWS, FLOW, LR, Case, arguments, data
from beside.rounds import Rounds

SiLU = stax.elementwise(jax.nn.silu)


def reshape(*shape: int) -> Any:
    """A layer that gives the event another shape."""
    return lambda rng, given: ((given[0], *shape), ()), lambda _, x, **__: x.reshape(len(x), *shape)


def double(channels: int) -> Any:
    """A layer that doubles height and width."""
    init, convolve = stax.GeneralConv(("NHWC", "HWIO", "NHWC"), 4 * channels, (2, 2), padding=((0, 1), (0, 1)))

    def twice(shape: Any) -> tuple[int, ...]:
        return shape[0], 2 * shape[1], 2 * shape[2], channels

    def apply(weights: Any, x: Array, **_: Any) -> Array:
        out = convolve(weights, x).reshape(*x.shape[:3], 2, 2, channels)
        return out.transpose(0, 1, 3, 2, 4, 5).reshape(twice(x.shape))

    return lambda rng, shape: (twice(shape), init(rng, shape)[1]), apply


def networks(case: Case) -> tuple[Any, Any]:
    """Encoder and decoder; images have their channels last."""
    (small, large), last = CHANNELS, (case.outputs, case.features)
    if not case.images:
        return tuple(stax.serial(stax.Dense(case.hidden), SiLU, stax.Dense(size)) for size in last)
    down = partial(stax.Conv, filter_shape=(3, 3), strides=(2, 2), padding="SAME")
    encoder = stax.serial(
        reshape(28, 28, 1), down(small), stax.Relu, down(large), stax.Relu, stax.Flatten, stax.Dense(case.outputs)
    )
    decoder = stax.serial(
        *(stax.Dense(large * 49), reshape(7, 7, large), stax.Relu, double(small), stax.Relu, double(1)),
        reshape(case.features),
    )
    return encoder, decoder


def triangle(raw: Array, size: int) -> Array:
    """Lower triangular factors with a positive diagonal."""
    factor = jnp.zeros((*raw.shape[:-1], size, size)).at[(..., *jnp.tril_indices(size))].set(raw)
    return jnp.where(jnp.eye(size, dtype=bool), jax.nn.softplus(factor), factor)


def program(case: Case) -> tuple[Any, Any]:
    """Model and guide."""
    encoder, decoder = networks(case)
    m = case.latents
    orders = [jnp.arange(m), jnp.arange(m)[::-1]]
    made = [
        AutoregressiveNN(m, [*FLOW["hidden_features"]], permutation=orders[i % 2]) for i in range(FLOW["transforms"])
    ]

    def model(x: Array) -> None:
        decode = numpyro.module("decoder", decoder, (len(x), m))
        prior = dist.Normal(jnp.zeros(m), 1.0).to_event(1)
        if case.flow:  # a density is parallel in the direction from z to the base
            nets = [numpyro.module(f"flow{i}", net, (m,)) for i, net in enumerate(made)]
            prior = dist.TransformedDistribution(prior, [InverseAutoregressiveTransform(net).inv for net in nets])
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", prior)
            numpyro.sample("x", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

    def guide(x: Array) -> None:
        raw = numpyro.module("encoder", encoder, (len(x), case.features))(x)
        with numpyro.plate("data", len(x)):
            if case.flow:
                numpyro.sample("z", dist.MultivariateNormal(raw[:, :m], scale_tril=triangle(raw[:, m:], m)))
            else:
                loc, scale = jnp.split(raw, 2, -1)
                numpyro.sample("z", dist.Normal(loc, jax.nn.softplus(scale)).to_event(1))

    return model, guide


def evidence(case: Case, key: Array) -> Any:
    """A function of a key and x that gives log p̂(x) of each row, blocks of draws at a time."""
    (encoder, encode), (decoder, decode) = networks(case)
    first, second = random.split(key)
    encoding = encoder(first, (1, case.features))[1]
    decoding = decoder(second, (1, case.latents))[1]

    def of_one(told: tuple[Array, Array]) -> Array:
        key, x = told
        loc, scale = jnp.split(encode(encoding, x[None])[0], 2)
        q = dist.Normal(loc, jax.nn.softplus(scale)).to_event(1)

        def block(key: Array) -> Array:
            z = q.sample(key, (BLOCK,))
            p = dist.Normal(jnp.zeros(case.latents), 1.0).to_event(1).log_prob(z)
            return dist.Bernoulli(logits=decode(decoding, z)).to_event(1).log_prob(x) + p - q.log_prob(z)

        log_w = lax.map(block, random.split(key, DRAWS // BLOCK))
        return jax.nn.logsumexp(log_w) - jnp.log(DRAWS)

    return jax.jit(lambda key, x: lax.map(of_one, (random.split(key, len(x)), x)))


def main() -> None:
    """Run rounds."""
    told = arguments()
    case, key = told.case, random.PRNGKey(0)
    versions = {"numpyro": numpyro.__version__, "jax": jax.__version__}
    if case.evidence:
        run, x = evidence(case, key), jnp.asarray(data(case, told.images))
        rounds = Rounds(told.seconds, told.warm_up, len(x), versions=versions)
        while True:
            key, now = random.split(key)
            run(now, x).block_until_ready()
            if rounds():
                return
    x = jnp.asarray(data(case))
    steps = len(x) // case.batch
    svi = SVI(*program(case), numpyro.optim.Adam(LR), Trace_ELBO())
    state = svi.init(key, x[: case.batch])

    def step(state: Any, rows: Array, x: Array) -> Any:
        return svi.update(state, x[rows])

    def epoch(state: Any, order: Array, x: Array) -> Any:
        return lax.scan(partial(step, x=x), state, order)

    epoch, step = jax.jit(epoch, donate_argnums=0), jax.jit(step, donate_argnums=0)
    rounds = Rounds(told.seconds, told.warm_up, steps, versions=versions)
    while True:
        key, now = random.split(key)
        order = random.permutation(now, len(x)).reshape(steps, case.batch)
        if case.images:
            for rows in order:
                state, loss = step(state, rows, x)
        else:
            state, loss = epoch(state, order, x)
        loss.block_until_ready()
        if rounds():
            return


if __name__ == "__main__":
    main()
