"""Does a network go by what JPEG leaves behind, or by what else differs between images of two origins?

Some films are in both sets: from a PNG in the sample and from a JPEG in the boxed part. What the network answers on the
two copies of a film differs by their origin alone. Beside it stands what origin goes with on different films: how much
higher the log-odds are on files that were JPEG than on others of equal labels. Intervals are 95 % over patients.

    python docs/results/discoveries/same_films.py NETWORK HALVES BOXED TABLE.csv

HALVES is what halves.py wrote of the sample, BOXED the folder of chestxray14-boxed; a row per class goes to TABLE.csv.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import pellucid as pl
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.statistics import mean_over_images
from pellucid.models.inference import predict
from pellucid.verbs.input_images import input_images, joined


def answers(images: object) -> np.ndarray:
    """Log-odds (N, K) of files or of a part of a dataset, read as the network reads them."""
    return predict(network, joined(input_images(network, images).images))


def of_equal_labels(design: np.ndarray, log_odds: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """How much higher each class's log-odds are on files that were JPEG, by least squares on format and all labels."""
    roots = np.sqrt(np.ones(len(design)) if weights is None else weights)[:, None]
    return np.linalg.lstsq(design * roots, log_odds * roots, rcond=None)[0][1]


network_folder, halves, boxed, table = sys.argv[1:]
network = pl.load(network_folder)
sources = pd.read_csv(Path(halves) / "sources.csv", index_col="image_index")
in_both = [
    name for name in sources.index[sources["native_format"] == "PNG"] if (Path(boxed) / "images" / name).exists()
]
as_png, as_jpeg = (answers([Path(folder) / "images" / name for name in in_both]) for folder in (halves, boxed))
patients = Bootstrap([name.split("_")[0] for name in in_both])

searched = pl.dataset("chestxray14", halves, split="test", validation_fraction=0.15)
log_odds = answers(searched)
was_jpeg = (sources.loc[list(searched.ids), "native_format"] == "JPEG").to_numpy()
design = np.column_stack([np.ones(len(was_jpeg)), was_jpeg, searched.targets])
draws = Bootstrap(searched.patients)
resampled = np.stack([of_equal_labels(design, log_odds, weights) for weights in draws.weights])
others, (low, high) = of_equal_labels(design, log_odds), np.quantile(resampled, (0.025, 0.975), axis=0)
rows = []
for k, name in enumerate(network.classes):
    has = searched.targets[:, k] == 1
    same = mean_over_images((as_jpeg - as_png)[:, k], patients).estimate()
    row = {"class": name, "distance": log_odds[has, k].mean() - log_odds[~has, k].mean()}
    row |= {"other_films": others[k], "other_films_low": low[k], "other_films_high": high[k], "n_other": len(searched)}
    row |= {"same_films": same.value, "same_films_low": same.low, "same_films_high": same.high, "n_same": same.n}
    rows.append(row)
pd.DataFrame(rows).round(4).to_csv(table, index=False)
print(pd.DataFrame(rows).round(3).to_string(index=False))
count, of_searched = len(set(patients.patients)), len(set(draws.patients))
print(f"{len(in_both)} films of {count} patients in both; {len(searched)} of {of_searched}, {was_jpeg.sum()} JPEG")
