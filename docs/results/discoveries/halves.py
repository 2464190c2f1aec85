"""A copy of ChestX-ray14 in its official layout, with half of the patients to train on and half to search.

A search wants images from where the training images came from. The official lists of chestxray14-sample differ in how
their files came, so patients are divided by lot instead. Images are linked, not copied.

    python docs/results/discoveries/halves.py DATA/chestxray14 runs/discoveries/chestxray14
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd

data, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir(parents=True)
tables = ("Data_Entry_2017_v2020.csv", "BBox_List_2017.csv", "sources.csv")
for name in tables:
    if (data / name).exists():
        shutil.copy(data / name, out / name)
(out / "images").symlink_to((data / "images").resolve(), target_is_directory=True)
entries = pd.read_csv(data / tables[0])
patients = np.random.default_rng(0).permutation(entries["Patient ID"].unique())
is_test = entries["Patient ID"].isin(patients[: len(patients) // 2])
for name, rows in (("test_list.txt", is_test), ("train_val_list.txt", ~is_test)):
    (out / name).write_text("".join(f"{image}\n" for image in entries.loc[rows, "Image Index"]))
print(f"{(~is_test).sum()} images to train on, {is_test.sum()} to search")
