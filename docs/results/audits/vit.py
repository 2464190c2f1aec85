"""Train a small Vision Transformer of transformers on the phantom, and save it as transformers saves models.

    python docs/results/audits/vit.py runs/vit

It has never heard of Pellucid but for the pictures: what it leaves is a folder with `config.json`, `model.safetensors`
and `preprocessor_config.json`, as from any other script.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from transformers import ViTConfig, ViTForImageClassification

import pellucid as pl

EPOCHS, SIZE = 40, 64


def main(folder: Path) -> None:
    """Train, and save."""
    torch.manual_seed(0)
    data = pl.dataset("phantom", size=SIZE, train=1600, validation=1, test=300)
    config = ViTConfig(
        image_size=SIZE,
        patch_size=8,
        num_channels=1,
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        id2label=dict(enumerate(data["train"].classes)),
        problem_type="multi_label_classification",
    )
    model = ViTForImageClassification(config)
    batches = DataLoader(data["train"], batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=EPOCHS * len(batches))
    for epoch in range(EPOCHS):
        total = 0.0
        for images, targets in batches:
            loss = F.binary_cross_entropy_with_logits(model((images - 0.5) / 0.25).logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / len(batches):.4f}", flush=True)
    model.save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": SIZE, "width": SIZE},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5],
        "image_std": [0.25],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))


main(Path(sys.argv[1]))
