"""The plate diagram of a program: Pyro's, with the arrows of the guide, or one by hand where Pyro cannot draw it."""

from __future__ import annotations

from typing import Any

import graphviz
import torch
from pyro import poutine
from pyro.infer import inspect
from pyro.ops.provenance import ProvenanceTensor, get_provenance

from pyrovae.program import Batch, Program
from pyrovae.structure import Structure, prune

__all__ = ["plate_diagram"]

DATA = "\0data"  # no site has this name
TRIES = 20


def plate_diagram(
    program: Program, batch: Batch, guide: poutine.Trace, model: poutine.Trace, structure: Structure
) -> graphviz.Digraph:
    """The model's sites in their plates, the observed ones grey; arrows of the guide are dashed.

    The caller opens the program's scope and evaluates, without gradient.

    Parameters
    ----------
    guide, model
        Traces of both on the batch, whose structure this is.
    """
    try:
        graph = inspect.render_model(
            program.model, model_args=batch.args, render_distributions=True, render_deterministic=True
        )
    except Exception:  # it follows tensors through operations of the user's, not all of which let it
        graph = by_hand(program, batch, model)
    try:
        arrows = _guide_arrows(program, batch, structure)
    except Exception:  # the same
        arrows = []
    for name in structure.auxiliary:
        inside = any(frame.name == structure.plate for frame in guide.nodes[name]["cond_indep_stack"])
        with graph.subgraph(name=f"cluster_{structure.plate}" if inside else None) as where:  # of one name: one plate
            where.node(name, style="dashed")
    for source, target in arrows:
        graph.edge(source, target, style="dashed")
    if arrows:
        graph.attr(label="dashed arrows: the guide", fontsize="10")
    return graph


def _guide_arrows(program: Program, batch: Batch, structure: Structure) -> list[tuple[str, str]]:
    """What each site of the guide depends on; the data stand for all sites observed in their plate."""
    x = ProvenanceTensor(batch.x, frozenset({DATA}))
    with inspect.TrackProvenance():
        trace = prune(poutine.trace(program.guide).get_trace(x, *batch.args[1:]))
    sites = [name for name, node in trace.nodes.items() if node["type"] == "sample"]
    arrows = []
    for name in sites:
        node = trace.nodes[name]
        upstream = get_provenance(node["fn"].log_prob(node["value"])) - {name}
        if DATA in upstream:
            arrows += [(site.name, name) for site in structure.observed]
        arrows += [(other, name) for other in sites if other in upstream]
    return arrows


def by_hand(program: Program, batch: Batch, model: poutine.Trace) -> graphviz.Digraph:
    """The diagram of a model whose arrows are found by changing one latent after the other."""
    nodes = {n: s for n, s in model.nodes.items() if s["type"] == "sample" and not s["infer"].get("_deterministic")}
    plates = [frame.name for node in nodes.values() for frame in node["cond_indep_stack"]]
    graph = graphviz.Digraph()
    clusters: dict[tuple[str, ...], graphviz.Digraph] = {(): graph}
    for name, node in nodes.items():
        inside = {frame.name for frame in node["cond_indep_stack"]}
        path = tuple(sorted(inside, key=lambda plate: (-plates.count(plate), plate)))  # the widest is outermost
        for depth in range(1, len(path) + 1):
            if path[:depth] not in clusters:
                clusters[path[:depth]] = graphviz.Digraph(name="cluster_" + "_".join(path[:depth]))
                clusters[path[:depth]].attr(label=path[depth - 1], labeljust="r", labelloc="b")
        clusters[path].node(name, style="filled", fillcolor="gray" if node["is_observed"] else "white")
    for path in sorted(clusters, key=len, reverse=True)[:-1]:
        clusters[path[:-1]].subgraph(clusters[path])
    graph.edges(_arrows(program, batch, model, nodes))
    return graph


def _arrows(program: Program, batch: Batch, model: poutine.Trace, nodes: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the density of a site, at its own value, is another once a latent has another value."""
    arrows = []
    for source, node in nodes.items():
        if node["is_observed"]:
            continue
        other = node["value"]
        for _ in range(TRIES):
            if not torch.equal(other, node["value"]):
                break
            other = node["fn"].sample()
        told = model.copy()
        told.nodes[source] = {**node, "value": other}
        changed = poutine.trace(poutine.replay(program.model, trace=told)).get_trace(*batch.args)
        for target, site in nodes.items():
            if target != source and not torch.equal(
                changed.nodes[target]["fn"].log_prob(site["value"]), site["fn"].log_prob(site["value"])
            ):
                arrows.append((source, target))
    return arrows
