"""What a network is, was trained on and comes from, as rows of a name and a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.models.classifier import AnyClassifier


def what_it_is(network: AnyClassifier) -> list[list[str]]:
    """What a network is: its source or architecture, its size, its images, its classes."""
    from pellucid.utils.words import first_of

    spec, source = network.input_spec, network.source
    if source is not None:
        facts = [["source", source.address]]
        facts += [["weights", f"{source.weights}, SHA-256 {source.weights_sha256[:12]}…"]] if source.weights else []
        facts += [["code", ", ".join(source.code)]] if source.code else []
    else:
        built = network.architecture
        facts = [["architecture", "" if built is None else f"{built.name} {dict(built.options)}"]]
    mean, std = (", ".join(f"{v:.4g}" for v in t.flatten().tolist()) for t in (network.mean, network.std))
    facts += [
        ["parameters", f"{sum(p.numel() for p in network.parameters()):,}"],
        ["images", f"{' × '.join(map(str, spec.shape))}, pixels in [0, 1]"],
        ["preprocessing", spec.preprocess],
        ["mean, std", f"{mean}; {std}"],
        ["task", network.task],
        ["classes", f"{len(network.classes):,}: {first_of(network.classes, 8)}"],
    ]
    if source is not None:
        facts.append(["outputs", str(network.card.get("outputs", {}).get("kind", "logits"))])
        last = getattr(network, "last_map", None)
        layer = "none found" if last is None else f"{last.layer} ({last.layout.name})"
        facts.append(
            ["last feature map", f"{layer}, pooled, then one linear layer" if network.has_linear_head else layer]
        )
    return facts


def training_facts(card: dict[str, Any]) -> list[list[str]]:
    """What images it was trained and selected on, and how they were read."""
    from pellucid.models.training_record import TABLE

    record = card.get(TABLE)
    if record is None:
        return [["trained on", "not recorded"]]
    facts = []
    for stage in record["stages"]:
        options = " ".join(f"{key}={value}" for key, value in stage["options"].items())
        counts = f"{stage['train']['images']:,} images, selected on {stage['validation']['images']:,}"
        facts.append(["trained on", f"{stage['dataset']}: {counts}; {options}"])
        facts.append(["pixels", ", ".join(f"{key} = {value}" for key, value in stage["pixels"].items())])
    facts += [["not known", text] for text in record["unknown"]]
    return facts


def origin(card: dict[str, Any]) -> list[list[str]]:
    """Where an imported network comes from and how its file says it was trained; nothing for one trained here."""
    imported = card.get("imported", {})
    facts = [[key, str(imported[key])] for key in ("source", "licence", "file", "citation") if key in imported]
    return facts + [[key.replace("_", " "), str(value)] for key, value in imported.get("training_options", {}).items()]
