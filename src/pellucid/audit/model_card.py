"""The model card: the fields of two checklists, filled from what was measured, and empty with the reason otherwise.

CLAIM: A. S. Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update. Radiology:
Artificial Intelligence 6 (4), 2024. Annex IV: technical documentation after Article 11 (1) of Regulation (EU) 2024/1689
(AI Act). The fields are named in our words; the numbers are the checklists'.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pellucid.audit.classification import CONSTANT, OWN, SUGGESTED
from pellucid.audit.facts import listed
from pellucid.report.tables.metrics import defined, method_label, metric, number, readable
from pellucid.report.tables.results_index import MEAN, ResultsIndex
from pellucid.utils.words import figure_text, joined, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CLAIM, ANNEX = "CLAIM 2024", "EU AI Act, Annex IV"
PEOPLE = "Only the people who made or use the model can say it."
STUDY = "It is about the study that the model comes from; this audit began with the finished model."
ORIGIN = "Whether these images come from where the training images do is not known."
IMAGES = "The dataset does not record it."
PARTS = {
    "classification": "telling the classes apart", "classes": "single classes", "calibration": "calibration",
    "groups": "groups", "comparison": "the comparison", "elsewhere": "corruptions", "attack": "attacks",
    "trust": "explanations", "localization": "where maps fall", "data": "the images",
}  # fmt: skip
"""What the statements of a part are on."""
TIES = 3
"""Classes that are named as those found least; where more of them share the lowest figure, they are counted."""
SIGNIFICANT = ("auroc", "average_precision", "accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class Field:
    """One field of a checklist.

    Attributes:
        source: `CLAIM` or `ANNEX`.
        item: its number there.
        title: what it asks for.
        text: the answer; empty where measurement cannot give one.
        reason: why it is empty; empty where it is not.
    """

    source: str
    item: str
    title: str
    text: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def model_card(results: Mapping[str, Any]) -> list[Field]:
    """Every field of both checklists.

    Args:
        results: of the audit, as audit.json has them, with its verdict.
    """
    facts = _Known(results)
    fields = []
    for source, items in ((CLAIM, _CLAIM), (ANNEX, _ANNEX)):
        for item, title, answer in items:
            text, reason = ("", answer) if isinstance(answer, str) else answer(facts)
            fields.append(Field(source, item, title, text, "" if text else reason))
    return fields


def as_markdown(results: Mapping[str, Any], fields: Sequence[Field]) -> str:
    """The card as `card.md` has it."""
    verdict = results["verdict"]
    lines = [f"# Model card: {results['title']}", "", verdict["headline"], ""]
    titles = {"holds": "What holds", "fails": "What does not hold", "unclear": "What cannot be said"}
    for kind, title in titles.items():
        own = [s for s in verdict["statements"] if s["kind"] == kind]
        if own:
            lines += [
                f"## {title}",
                "",
                *(f"- {_escaped(s['text'])} {_escaped(s['advice'])}".rstrip() for s in own),
                "",
            ]
    for source in dict.fromkeys(f.source for f in fields):
        own = [f for f in fields if f.source == source]
        filled = sum(bool(f.text) for f in own)
        lines += [f"## {source}", "", f"{filled} of {len(own)} fields could be filled from what was measured.", ""]
        lines += ["| item | asks for | answer |", "|---|---|---|"]
        lines += [f"| {f.item} | {_cell(f.title)} | {_cell(f.text) or '*empty:* ' + _cell(f.reason)} |" for f in own]
        lines.append("")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|").replace("\n", " ")


Answer = tuple[str, str]


class _Known:
    """What the results hold, asked for field by field: a text, and the reason where it is empty."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.results, self.facts = results, results["facts"]
        self.index = ResultsIndex(results)

    def fact(self, *names: str) -> str:
        """Facts of part 1 as sentences."""
        return " ".join(f"{name}: {self.facts[name]}." for name in names if name in self.facts)

    def methods(self) -> str:
        return ", ".join(method_label(m) for m in self.results["methods"])

    def category(self) -> Answer:
        return f"Deep learning: image classification. {self.fact('Network')}", ""

    def summary(self) -> Answer:
        return self.results["verdict"]["headline"], ""

    def use(self) -> Answer:
        return self.facts.get("Intended use", ""), PEOPLE

    def data(self) -> Answer:
        source = self.results["data"].get("citation") or ""
        return f"{self.fact('Images', 'Licence of the images', 'Fingerprint of the images')} {source}".strip(), ""

    def preprocessing(self) -> Answer:
        return self.fact("Takes", "Normalisation"), ""

    def subsets(self) -> Answer:
        about = self.results["about"]
        if about["limit"] is None or about["n"] == about["whole"]:
            return f"All {about['n']:,} images of the part {about['split']} were judged, as it was given.", ""
        return f"{about['n']:,} of {about['whole']:,} images, chosen at random with seed {about['seed']}.", ""

    def missing(self) -> Answer:
        if self.results["data"]["task"] == "multilabel":
            return "A label that is not known of an image takes part in no figure.", ""
        return "Every image has one class.", ""

    def partitions(self) -> Answer:
        about = self.results["about"]
        return f"Only the part {about['split']} was judged, as the dataset's reader gives it (item 7).", ""

    def disjoint(self) -> Answer:
        record = self.results["about"]["training_images"]
        if record["trained_on"] is None:
            return "", "The model has no record of the images that it was trained on, so none could be looked for."
        text = (
            f"{record['trained_on']:,} of {record['images']:,} images are among those that it was trained on, compared "
        )
        return " ".join([f"{text}by their pixels.", *(f"But it {phrase}." for phrase in record["unknown"])]), ""

    def size(self) -> Answer:
        return f"{self.results['about']['n']:,} images; no number was planned beforehand.", ""

    def model(self) -> Answer:
        return self.fact("Network", "Tells apart", "Takes", "Thresholds", "Weights, SHA-256"), ""

    def software(self) -> Answer:
        return ", ".join(f"{name} {version}" for name, version in self.results["versions"].items()) + ".", ""

    def training(self) -> Answer:
        source = self.facts["Source"]
        text = source if source.startswith("trained by Pellucid") else ""
        return text, "The model does not carry how it was trained."

    def metrics(self) -> Answer:
        parts = ("classification", "calibration", "robustness")
        rows = [r for r in self.index.results["rows"] if r["section"] in parts]
        # a class's recall is its sensitivity, which is named for itself
        names = list(dict.fromkeys(metric(r["metric"]).label for r in rows if r["metric"] != "recall"))
        suggested = any(r["at"] == SUGGESTED for r in self.index.section("threshold"))
        at = " as it decides, and at the suggested threshold" if suggested else " of each class as it decides"
        return f"{', '.join(names)}; sensitivity and specificity{at}.", ""

    def statistics(self) -> Answer:
        resamples = self.results["classification"]["resamples"]
        sampled = self.index.sampled
        return (
            f"95 % intervals over {sampled}: exact of shares, score intervals of AUROC and average precision, of "
            f"differences those of both figures put together, {resamples:,} resamples of the {sampled} where there is "
            "no formula.",
            "",
        )

    def robustness(self) -> Answer:
        texts = [s["text"] for s in self.results["verdict"]["statements"] if s["part"] in ("elsewhere", "attack")]
        return " ".join(texts), self.reason("attack")

    def security(self) -> Answer:
        texts = [s["text"] for s in self.results["verdict"]["statements"] if s["part"] == "attack"]
        return " ".join(texts), self.reason("attack")

    def explained(self) -> Answer:
        texts = [s["text"] for s in self.results["verdict"]["statements"] if s["part"] in ("trust", "localization")]
        methods = f"Heat maps: {self.methods()}. " if self.results["methods"] else ""
        return f"{methods}{' '.join(texts)}" if texts else "", self.reason("trust")

    def counts(self) -> Answer:
        return self.fact("Images"), ""

    def performance(self) -> Answer:
        rows = [self.index.row("classification", name, self.index.variants[0]) for name in SIGNIFICANT]
        texts = [f"{metric(r['metric']).label} {_shown(r)}, n = {r['n']:,}" for r in rows if r and defined(r["value"])]
        return "; ".join(texts), "No figure is defined on these images."

    def accuracy_of_diagnosis(self) -> Answer:
        rows = [r for r in self.index.section("threshold") if r["at"] == OWN and r["metric"] != "cost"]
        means = [r for r in rows if r["class"] == MEAN and defined(r["value"])]
        named = self.results["classification"]["use"].get("class")
        if named is not None:  # of two exclusive classes both means are one figure
            means = [r for r in rows if r["class"] == named and defined(r["value"])]
        whose = "mean {}" if named is None else f"{{}} for {readable(named)}"
        text = "; ".join(f"{whose.format(r['metric'])} {_shown(r)}" for r in means)
        worst = sorted((r for r in rows if r["metric"] == "sensitivity" and r["class"] != MEAN and defined(r["value"])),
                       key=lambda r: float(r["value"]))  # fmt: skip
        tied = [r for r in worst if r["value"] == worst[0]["value"]]
        if len(tied) > TIES:
            sizes = [number_of(n, "image(s)") for n in sorted({r["n"] for r in tied})]
            each = f"{sizes[0]} each" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} each"
            lowest = f"{len(tied):,} classes {number(worst[0]['value'])} ({each})"
        else:
            count = min(TIES, len(worst) // 2)
            count = max(count, len(tied)) if len(tied) < len(worst) else count  # none that is as low is left out
            lowest = listed([f"{readable(r['class'])} {_shown(r)}" for r in worst[:count]])
        text = f"{text}; lowest sensitivity: {lowest}." if lowest else text
        return f"{text}{self.costs(named)}", "No figure is defined on these images."

    def costs(self, named: str | None) -> str:
        """What errors cost at either threshold and with the best constant answer, where costs were given."""
        use = self.results["classification"]["use"]
        rows = {r["at"]: r for r in self.index.section("threshold")
                if r["metric"] == "cost" and r["class"] == (named or MEAN) and defined(r["value"])}  # fmt: skip
        if CONSTANT not in rows or (not use["prevalence"] and use["FN"] == use["FP"] == 1):
            return ""
        own = f"{_shown(rows[OWN])} as it decides, " if OWN in rows else ""
        at = f"{_shown(rows[SUGGESTED])} at the suggested threshold, " if SUGGESTED in rows else ""
        constant = number(rows[CONSTANT]["value"])
        return f" Errors cost, for each image: {own}{at}{constant} with the best constant answer."

    def failures(self) -> Answer:
        wrong = self.results["classification"]["surest_and_wrong"]
        text = f"The report shows the {len(wrong)} wrong answers that it is surest about: "
        text += "; ".join(f"{w['image']} ({w['says']}, {w['truth']})" for w in wrong[:3]) + "."
        return text if wrong else "It made no error on these images.", ""

    def limits(self) -> Answer:
        return " ".join(self.results["limits"]), ""

    def implications(self) -> Answer:
        by_advice: dict[str, list[str]] = {}
        for s in self.results["verdict"]["statements"]:
            if s["advice"]:
                by_advice.setdefault(s["advice"], []).append(PARTS[s["part"]])
        texts = [f"{joined(list(dict.fromkeys(of)))}: {advice}" for advice, of in by_advice.items()]
        return " ".join(f"{text[:1].upper()}{text[1:]}" for text in texts), "Nothing that was measured calls for any."

    def details(self) -> Answer:
        return f"audit.json, and the tables that the command writes; `{self.results['command'] or 'pl.audit'}`.", ""

    def testing(self) -> Answer:
        text = f"{self.fact('Images')} Audited on {self.results['created'][:10]}. {self.statistics()[0]}"
        return f"{text} {self.performance()[0]}", ""

    def groups(self) -> Answer:
        groups = self.results.get("groups")
        if groups is None:
            return "", "No table of ages, sexes, views or devices was given, so no group was judged on its own."
        counts: dict[str, dict[str, int]] = {}
        for row in groups["rows"]:
            counts.setdefault(row["column"], {})[row["group"]] = row["images"]
        parts = [f"{column}: {', '.join(f'{g} {n:,}' for g, n in of.items())}" for column, of in counts.items()]
        texts = [s["text"] for s in self.results["verdict"]["statements"] if s["part"] == "groups"]
        return " ".join([f"Images by {'; by '.join(parts)}.", *texts]), ""

    def capabilities(self) -> Answer:
        titles = {"holds": "What holds", "fails": "What does not hold", "unclear": "What cannot be said"}
        parts = []
        for kind, title in titles.items():  # within what cannot be said, too, there may be losses that are shown
            own = [s["text"] for s in self.results["verdict"]["statements"] if s["kind"] == kind]
            parts += [f"{title}: {' '.join(own)}"] if own else []
        groups = " ".join(text for text in self.groups() if text)
        return " ".join([*parts, f"For single groups of people: {groups}"]), ""

    def appropriate(self) -> Answer:
        text = (
            "Accuracy depends on how frequent the classes are; AUROC and average precision depend on no threshold, "
            "sensitivity and specificity do; calibration says whether a probability may be read as one. Each stands "
            "with its interval and its n."
        )
        return text, ""

    def reason(self, part: str) -> str:
        return next((p["reason"] for p in self.results["parts"] if p["name"] == part and p["reason"]), "Not measured.")


def _shown(row: Mapping[str, Any]) -> str:
    text = figure_text(row["value"], row["low"], row["high"], number)
    return text if "[" in text else f"{text} (no interval: {row['reason']})"


_K = _Known
_CLAIM: tuple[tuple[str, str, str | Callable[[_Known], Answer]], ...] = (
    ("1", "Category of the technology", _K.category),
    ("2", "Summary of design, methods, results, conclusions", _K.summary),
    ("3", "Background, intended use and role", _K.use),
    ("4", "Aims and hypotheses", STUDY),
    ("5", "Prospective or retrospective", STUDY),
    ("6", "Goal of the study", STUDY),
    ("7", "Sources of the data", _K.data),
    ("8", "Inclusion and exclusion criteria", IMAGES),
    ("9", "Preprocessing of the data", _K.preprocessing),
    ("10", "Selection of subsets", _K.subsets),
    ("11", "De-identification", IMAGES),
    ("12", "How missing data were handled", _K.missing),
    ("13", "How the images were acquired", IMAGES),
    ("14", "How the reference standard was obtained", IMAGES),
    ("15", "Why this reference standard", IMAGES),
    ("16", "Who annotated the reference standard", IMAGES),
    ("17", "Annotation of the test set", IMAGES),
    ("18", "Variability within and between annotators", IMAGES),
    ("19", "How data were assigned to partitions", _K.partitions),
    ("20", "Level at which partitions are disjoint", _K.disjoint),
    ("21", "Intended sample size", _K.size),
    ("22", "Description of the model", _K.model),
    ("23", "Software, with versions", _K.software),
    ("24", "Initialisation of the parameters", STUDY),
    ("25", "Training", _K.training),
    ("26", "How the final model was selected", STUDY),
    ("27", "Ensembles", "One model was audited; whether it is part of an ensemble is not known."),
    ("28", "Metrics of performance", _K.metrics),
    ("29", "Significance and uncertainty", _K.statistics),
    ("30", "Robustness and sensitivity analysis", _K.robustness),
    ("31", "Explanations, and how they were validated", _K.explained),
    ("32", "Evaluation on internal data", ORIGIN),
    (
        "33",
        "Testing on external data",
        ORIGIN,
    ),
    ("34", "Registration of a clinical trial", PEOPLE),
    ("35", "Numbers included and excluded", _K.counts),
    ("36", "Demographic and clinical characteristics", _K.groups),
    ("37", "Performance with its uncertainty", _K.performance),
    ("38", "Diagnostic accuracy with its precision", _K.accuracy_of_diagnosis),
    ("39", "Analysis of failures", _K.failures),
    ("40", "Limitations", _K.limits),
    ("41", "Implications for practice", _K.implications),
    ("42", "Protocol and further details", _K.details),
    ("43", "Availability of software, model and data", PEOPLE),
    ("44", "Funding", PEOPLE),
)
_ANNEX: tuple[tuple[str, str, str | Callable[[_Known], Answer]], ...] = (
    ("1 (a)", "Intended purpose, provider, version", _K.use),
    ("1 (b)", "Interaction with other hardware and software", PEOPLE),
    ("1 (c)", "Versions of software and firmware", _K.software),
    ("1 (d)", "Forms in which it is placed on the market", PEOPLE),
    ("1 (e)", "Hardware that it is intended to run on", PEOPLE),
    ("1 (f)", "Pictures of the product that it is part of", PEOPLE),
    ("1 (g)", "User interface", PEOPLE),
    ("1 (h)", "Instructions for use", PEOPLE),
    ("2 (a)", "How it was developed, with which pre-trained parts", _K.training),
    ("2 (b)", "Design: logic, choices, assumptions", STUDY),
    ("2 (c)", "Architecture and computing resources", _K.model),
    ("2 (d)", "Training data: provenance, scope, labelling", STUDY),
    ("2 (e)", "Human oversight", PEOPLE),
    ("2 (f)", "Changes that are planned", PEOPLE),
    ("2 (g)", "Validation and testing: data, metrics, reports", _K.testing),
    ("2 (h)", "Cybersecurity", _K.security),
    ("3", "Capabilities, limits, accuracy for groups of persons, risks", _K.capabilities),
    ("4", "Why these metrics", _K.appropriate),
    ("5", "Risk management", PEOPLE),
    ("6", "Changes over its life", PEOPLE),
    ("7", "Standards applied", PEOPLE),
    ("8", "EU declaration of conformity", PEOPLE),
    ("9", "Monitoring after it is on the market", PEOPLE),
)
