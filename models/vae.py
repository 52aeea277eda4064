"""The variational autoencoder: Kingma & Welling 2013, "Auto-Encoding Variational Bayes", arXiv 1312.6114.

z ~ N(0, I), x | z from a network of z (appendix C: Bernoulli C.1, Normal C.2), and q(z|x) = N(μ(x), diag σ²(x)) from a
network of x (eq. 9), trained on a bound with one draw of z per datum. Trace_ELBO, the default of `fit`, is their first
estimator (eq. 6); pass ``loss=pyro.infer.TraceMeanField_ELBO()`` for the second (eq. 7), whose KL is in closed form.

Their settings (section 5, appendix B): one tanh layer of 500 units for MNIST, 200 for Frey Face; 2 to 200 latents;
batches of 100; Adagrad with a step of .01, .02 or .1; weights from N(0, .01) and a N(0, I) prior on them.

What differs: two SiLU layers of 128, Adam, PyTorch's initial weights and no prior on them; counts get a Binomial; the
Normal's scale is one learned number, not a network; the guide standardises its input, and on request its covariance is
full.
"""

from __future__ import annotations

import pyrovae as pv

GUIDES = ("normal", "multivariate_normal")


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    likelihood: str = "auto",
    guide: str = "normal",
) -> pv.VAE:
    """The program for data of one event dimension (images flattened); NaN means missing.

    ``likelihood``: "bernoulli", "binomial" (the largest count of the data is its total) or "normal"; "auto" takes
    Bernoulli for zeros and ones or data binarised anew per batch, Binomial for other whole numbers, else Normal.
    ``guide``: "normal" (independent latents) or "multivariate_normal".
    """
    if guide not in GUIDES:
        raise ValueError(f"guide: expected one of {', '.join(GUIDES)}, got {guide!r}")
    features = pv.data.features(data)
    missing = bool(data.x.isnan().any())
    p = pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood)
    q = pv.guides.Normal if guide == "normal" else pv.guides.MultivariateNormal
    outputs = 2 * latents if guide == "normal" else pv.guides.MultivariateNormal.outputs(latents)
    return pv.VAE(pv.priors.Normal(latents), p, q(pv.networks.MLP(features, hidden, outputs, mask=missing)))
