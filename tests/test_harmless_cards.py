"""A model folder may come from anybody: its card builds a network, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli_w

import pellucid as pl
from helpers.foreign import GIVEN
from pellucid.models.sources.importing import import_network
from pellucid.models.sources.opening import Given
from pellucid.models.sources.registry import SOURCES
from pellucid.models.sources.source import Source, check_harmless
from pellucid.types import InputError


def config(**values):
    return {"config": json.dumps({"model_type": "vit", **values})}


@pytest.mark.parametrize(
    ("kind", "name", "options", "setting"),
    [
        ("torchxrayvision", "densenet121-res224-all", {"count": 2, "weights": "mine"}, "weights"),
        ("torchxrayvision", "densenet121-res224-all", {"count": 2, "cache_dir": "evil"}, "cache_dir"),
        ("timm", "resnet18", {"architecture": "resnet18", "checkpoint_path": "evil.pth"}, "checkpoint_path"),
        ("timm", "resnet18", {"architecture": "hf-hub:owner/net"}, "name"),
        ("timm", "local-dir:evil", {}, "name"),
        ("timm", "resnet18", {"architecture": "resnet18", "pretrained_cfg": {"file": "evil"}}, "pretrained_cfg"),
        ("torchvision", "resnet18", {"weights": "IMAGENET1K_V1"}, "weights"),
        ("huggingface", "owner/net", config(auto_map={"AutoModel": "evil.Net"}), "auto_map"),
        ("huggingface", "owner/net", config(attn_implementation="owner/kernel"), "attn_implementation"),
        ("huggingface", "owner/net", config(backbone_config={"use_pretrained_backbone": True}), "use_pretrained"),
    ],
)
def test_a_card_that_leads_elsewhere_is_refused(kind, name, options, setting):
    with pytest.raises(InputError, match=rf"its card builds {kind}:.* with {setting}"):
        check_harmless(Source(kind, name, options), SOURCES[kind], Path("m"))


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("torchxrayvision", "densenet121-res224-all", {"count": 18}),
        ("timm", "resnet50.a1_in1k", {"architecture": "resnet50", "num_classes": 2, "in_chans": 1}),
        ("torchvision", "resnet50.IMAGENET1K_V1", {"num_classes": 2}),
        ("huggingface", "google/vit-base-patch16-224", config(hidden_act="gelu", pretrained_window_sizes=[0, 0])),
    ],
)
def test_a_card_that_builds_a_network_is_taken(kind, name, options):
    check_harmless(Source(kind, name, options), SOURCES[kind], Path("m"))


def test_an_altered_card_is_refused_before_its_library_builds_anything(tmp_path):
    transformers = pytest.importorskip("transformers")
    network = transformers.ViTForImageClassification(
        transformers.ViTConfig(
            image_size=32,
            patch_size=8,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    network.save_pretrained(tmp_path / "vit")
    given = {**GIVEN, "preprocess": "stretch:32"}
    import_network("huggingface", str(tmp_path / "vit"), tmp_path / "m", Given(**given))
    card = pl.load(tmp_path / "m").card
    card = {key: value for key, value in card.items() if key != "sha256"}
    values = json.loads(card["source"]["options"]["config"])
    card["source"]["options"]["config"] = json.dumps({**values, "auto_map": {"AutoConfig": "evil.Config"}})
    (tmp_path / "m" / "model.toml").write_text(tomli_w.dumps(card))
    with pytest.raises(InputError, match="auto_map"):
        pl.load(tmp_path / "m")
