"""SpRAy, the reference: clusters of a class's heat maps (Lapuschkin et al., Nature Communications 2019).

As there, maps are downsized, their affinities are those of nearest neighbours, and the largest gap of the Laplacian's
eigenvalues says how many clusters a class has. A person then looks at the clusters, of a class the smaller first; the
paper gives no order, and no test. So that it can be said how often it raises an alarm where nothing is, a class's gap
is held against those of permuted maps; to find a shortcut no class is left out for it. Maps are gradient × image, which
is LRP's simplest rule in a network of ReLUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import eigh
from sklearn.cluster import KMeans
from sklearn.neighbors import kneighbors_graph

from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.models.inference import predict

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.models.classifier import ConvolutionalClassifier

SIDE = 16  # of a downsized map
NEIGHBOURS = 10
LARGEST = 8  # clusters of a class, at most
PERMUTATIONS = 19
LEVEL = 0.05  # of a class


@dataclass(frozen=True, eq=False)
class Cluster:
    """One cluster of a class's maps.

    Attributes:
        finding: the class.
        gap: how far the class's largest gap of eigenvalues is beyond the mean of permuted maps, in their deviations.
        p: share of permuted maps, the class's own counted, whose largest gap is as large.
        members: boolean (N,), of the images looked at for the class; False for all others.
        looked_at: boolean (N,).
        region: boolean (S, S), where its mean map is hottest against that of the other images.
    """

    finding: str
    gap: float
    p: float
    members: npt.NDArray[np.bool_]
    looked_at: npt.NDArray[np.bool_]
    region: npt.NDArray[np.bool_]


def heat_maps(network: ConvolutionalClassifier, images: npt.NDArray[np.uint8], column: int) -> npt.NDArray[np.float32]:
    """Gradient × image of one class, (N, S, S)."""
    maps = []
    for part in torch.from_numpy(images).split(100):
        pixels = (part.float() / 255).requires_grad_()
        (gradient,) = torch.autograd.grad(network(pixels)[:, column].sum(), pixels)
        maps.append((gradient * pixels).detach().sum(1).numpy())
    return np.concatenate(maps)


def eigenvalues(maps: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The smallest eigenvalues of the normalised Laplacian of the maps (n, d), and their vectors."""
    graph = kneighbors_graph(maps, min(NEIGHBOURS, len(maps) - 1)).toarray()
    affinity = (graph + graph.T) / 2
    scale = 1 / np.sqrt(affinity.sum(1))
    laplacian = np.eye(len(maps)) - scale[:, None] * affinity * scale
    values, vectors = eigh(laplacian, subset_by_index=[0, min(LARGEST, len(maps) - 1)])
    return values, vectors


def clusters(
    network: ConvolutionalClassifier, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.float32], *, seed: int
) -> list[Cluster]:
    """The clusters of every class, those of the class with the largest gap first, of a class the smaller ones."""
    generator, logits = np.random.default_rng(seed), predict(network, images)
    suspects: list[Cluster] = []
    for column, finding in enumerate(PHANTOM_CLASSES):
        # the images that the network takes for the class, as many as have it, and those that have it
        count = int(labels[:, column].sum())
        looked_at = labels[:, column] == 1
        looked_at[np.argsort(-logits[:, column])[:count]] = True
        if looked_at.sum() < 2 * NEIGHBOURS:
            continue
        heat = heat_maps(network, images[looked_at], column)
        cell = heat.shape[1] // SIDE
        small = heat.reshape(-1, SIDE, cell, SIDE, cell).sum((2, 4)).reshape(-1, SIDE * SIDE)
        small = (small / np.abs(small).sum(1, keepdims=True)).astype(np.float64)
        values, vectors = eigenvalues(small)
        gaps = np.diff(values)[1:]  # two clusters at least
        shuffled = [np.diff(eigenvalues(generator.permuted(small, axis=0))[0])[1:].max() for _ in range(PERMUTATIONS)]
        p = (1 + sum(gap >= gaps.max() for gap in shuffled)) / (1 + PERMUTATIONS)
        number = int(gaps.argmax()) + 2
        gap = float((gaps.max() - np.mean(shuffled)) / max(np.std(shuffled), 1e-9))
        of = KMeans(number, n_init=4, random_state=seed).fit_predict(vectors[:, :number])
        for cluster in np.argsort(np.bincount(of, minlength=number)):
            members = np.zeros(len(images), dtype=bool)
            members[np.flatnonzero(looked_at)[of == cluster]] = True
            contrast = np.abs(heat[of == cluster].mean(0) - heat[of != cluster].mean(0))
            suspects.append(Cluster(finding, gap, p, members, looked_at, contrast >= contrast.max() / 2))
    return sorted(suspects, key=lambda suspect: -suspect.gap)
