"""Recipes, studies and their overrides: what is shipped is valid, and what is misspelt is named."""

from __future__ import annotations

import copy
import functools
import operator
import tomllib
import warnings

import pytest
import tomli_w

from pellucid.data import Augmentation
from pellucid.data.registry import get_entry
from pellucid.study import load_study
from pellucid.study.runs import plan
from pellucid.training import load_recipe, recipe_names
from pellucid.training.recipe import resolve
from pellucid.types import InputError
from pellucid.utils.resources import bundled, nearest
from pellucid.utils.settings import merge, parse_override

KHAKZAR = [name for name in recipe_names() if name.startswith("khakzar2019")]


@pytest.mark.parametrize("name", recipe_names())
def test_every_bundled_recipe_is_valid_and_says_what_it_is(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.title
    assert recipe.notes
    assert recipe.citation or name == "standard"


@pytest.mark.parametrize("name", list(bundled("studies")))
def test_every_bundled_study_is_valid_and_its_recipes_can_be_read(name, tmp_path):
    study = load_study(name)
    assert study.name == name
    assert study.title
    assert study.description
    assert study.cost
    runs = plan(study, tmp_path)
    assert len(runs) == len(study.variants) * len(study.seeds) * (study.folds or 1)
    assert len({run.folder for run in runs}) == len(runs)
    assert not list(tmp_path.iterdir())


def test_the_recipes_that_the_issue_names_are_there():
    assert {"standard", "khakzar2019-baseline", "khakzar2019-robust"} <= set(recipe_names())


def test_the_baseline_is_weighted_cross_entropy_without_an_attack():
    recipe = load_recipe("khakzar2019-baseline")
    assert recipe.objective.loss == "weighted_cross_entropy"
    assert recipe.objective.mix == 1
    assert not recipe.robust


def test_the_robust_recipe_is_one_fgsm_step_in_half_of_the_loss():
    recipe = load_recipe("khakzar2019-robust")
    attack = recipe.objective.attack
    assert recipe.objective.mix == 0.5
    assert recipe.robust
    assert (attack.method, attack.steps, attack.random_start) == ("fgsm", 1, True)
    assert (attack.size.norm, attack.size.value) == ("linf", 0.005)


def test_the_siblings_differ_from_it_in_one_thing():
    def differing(name):
        other = load_recipe(name).model_dump(exclude={"name", "title", "notes"})
        same = load_recipe("khakzar2019-robust").model_dump(exclude={"name", "title", "notes"})
        return {section for section in same if same[section] != other[section]}

    assert differing("khakzar2019-minmax") == {"objective"}
    assert differing("khakzar2019-robust-pgd10") == {"objective"}
    assert differing("khakzar2019-baseline") == {"objective"}
    assert load_recipe("khakzar2019-minmax").objective.mix == 0


def test_robust_fine_tuning_and_its_control_differ_in_the_attacks_alone():
    control, robust = (load_recipe(f"khakzar2019-{end}", fine_tuning=True) for end in ("continued", "finetuned"))
    one, other = control.model_dump(), robust.model_dump()
    assert {key for key in one if one[key] != other[key]} == {"name", "title", "notes", "citation", "objective"}
    assert control.init == robust.init == "khakzar2019-baseline"
    plain = load_recipe("khakzar2019-baseline")
    assert control.objective == plain.objective
    assert (robust.training.epochs, robust.optimizer.lr) == (4, pytest.approx(plain.optimizer.lr / 3, rel=0.01))
    attack = load_recipe("khakzar2019-robust-pgd10").objective.attack
    assert (attack.method, attack.steps, attack.size.linf) == ("pgd", 10, 0.005)


@pytest.mark.parametrize("name", KHAKZAR)
def test_the_papers_recipes_say_that_its_values_are_not_known(name):
    notes = " ".join(load_recipe(name).notes.split())
    assert "not known" in notes or "not published" in notes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.epochs=3", {"training": {"epochs": 3}}),
        ("optimizer.lr = 3e-4", {"optimizer": {"lr": 3e-4}}),
        ("model.name=small", {"model": {"name": "small"}}),
        ('model.name="small"', {"model": {"name": "small"}}),
        ("model.options={width=[4, 8]}", {"model": {"options": {"width": [4, 8]}}}),
        ("seeds=[0, 1]", {"seeds": [0, 1]}),
        ("attack.random_start=false", {"attack": {"random_start": False}}),
        ("pretrained=https://a.b/c.pth?x=1", {"pretrained": "https://a.b/c.pth?x=1"}),
        ("positive=", {"positive": ""}),
    ],
)
def test_overrides_are_read_as_toml_or_else_as_text(text, expected):
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["training.epochs", "=3", ""])
def test_an_override_without_key_or_value_is_refused(text):
    with pytest.raises(InputError, match="expected key=value"):
        parse_override(text)


def test_overrides_change_what_they_name_and_nothing_else():
    before = load_recipe("khakzar2019-robust").model_dump()
    after = load_recipe("khakzar2019-robust", ["training.epochs=3", "optimizer.lr=0.1"]).model_dump()
    assert after["training"].pop("epochs") == 3
    assert after["optimizer"].pop("lr") == 0.1
    before["training"].pop("epochs")
    before["optimizer"].pop("lr")
    assert before == after


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.epoch=3", ["training.epoch", "Did you mean 'epochs'?"]),
        ("objective.atack.steps=3", ["objective.atack", "Did you mean 'attack'?"]),
        ("objective.attack.size.lnf=0.1", ["objective.attack.size.lnf", "Did you mean 'linf'?"]),
        ("optimiser.lr=3", ["optimiser", "Did you mean 'optimizer'?"]),
        ("training.epochs=0", ["training.epochs", "greater than or equal to 1", "found 0"]),
        ("training.epochs=many", ["training.epochs", "valid integer", "found 'many'"]),
        ("training=3", ["training", "found 3"]),
        ("model.size=0", ["model.size", "found 0"]),
        ("model.size=-32", ["model.size", "found -32"]),
        ("optimizer.lr=-1", ["optimizer.lr", "greater than 0", "found -1"]),
        ("objective.mix=1.5", ["objective.mix", "found 1.5"]),
        ("objective.loss=focal", ["objective.loss", "weighted_cross_entropy", "found 'focal'"]),
        ("objective.attack.size.linf=-0.1", ["objective.attack.size.linf", "greater than 0", "found -0.1"]),
        ("objective.attack.size=0.1", ["objective.attack.size", "found 0.1"]),
        ("objective.attack.steps=4", ["fgsm takes one step", "found steps = 4"]),
        ("schedule.name=cosin", ["schedule.name", "'cosine'", "found 'cosin'"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_was_expected(override, parts):
    with pytest.raises(InputError) as caught:
        load_recipe("khakzar2019-robust", [override])
    for part in ["khakzar2019-robust.toml", *parts]:
        assert part in str(caught.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(InputError) as caught:
        load_recipe("standard", ["training.epoch=3", "model.size=0"])
    assert "training.epoch" in str(caught.value)
    assert "model.size" in str(caught.value)


def test_an_unknown_recipe_or_study_comes_with_the_nearest():
    with pytest.raises(InputError, match=r"no recipe called 'khakzar2019-robost'.*Did you mean 'khakzar2019-robust"):
        load_recipe("khakzar2019-robost")
    with pytest.raises(InputError, match=r"no study called 'demos'.*Did you mean 'demo'"):
        load_study("demos")


def test_a_size_in_another_norm_replaces_the_size():
    recipe = load_recipe("khakzar2019-robust", ["objective.attack.size.l2=0.5"])
    assert (recipe.objective.attack.size.norm, recipe.objective.attack.size.value) == ("l2", 0.5)
    recipe = load_recipe("khakzar2019-robust", settings={"objective": {"attack": {"size": {"rms": 0.1}}}})
    assert recipe.objective.attack.size.norm == "rms"


def test_options_of_one_network_do_not_stay_with_another():
    assert load_recipe("khakzar2019-baseline").model.options == {"output_stride": 16}
    assert load_recipe("khakzar2019-baseline", ["model.name=small"]).model.options == {}
    kept = load_recipe("khakzar2019-baseline", ["model.size=64", "model.name=densenet121"])
    assert kept.model.options == {"output_stride": 16}
    new = load_recipe("khakzar2019-baseline", ["model.name=small", "model.options.stem_stride=2"])
    assert new.model.options == {"stem_stride": 2}


def test_merging_leaves_what_is_laid_over_alone():
    values = {"a": {"b": 1, "size": {"linf": 0.1}}}
    over = {"a": {"c": 2, "size": {"l2": 0.5}}}
    merge(values, over)
    assert values == {"a": {"b": 1, "c": 2, "size": {"l2": 0.5}}}
    assert over == {"a": {"c": 2, "size": {"l2": 0.5}}}


def test_a_file_may_start_from_another_that_starts_from_a_third(tmp_path):
    (tmp_path / "one.toml").write_text(
        'base = "khakzar2019-robust"\nname = "one"\ntitle = "One"\n[objective.attack.size]\nl2 = 0.3\n'
    )
    (tmp_path / "two.toml").write_text(
        f'base = "{tmp_path / "one.toml"}"\nname = "two"\ntitle = "Two"\n[training]\nepochs = 2\n'
    )
    recipe = load_recipe(str(tmp_path / "two.toml"))
    assert (recipe.name, recipe.training.epochs) == ("two", 2)
    assert recipe.objective.attack.size.l2 == 0.3  # of the first
    assert recipe.objective.loss == "weighted_cross_entropy"  # of the recipe that that one starts from
    assert recipe.objective.mix == 0.5
    (tmp_path / "three.toml").write_text('base = "gone"\nname = "three"\ntitle = "Three"\n')
    with pytest.raises(InputError, match=r"three.toml: base: no recipe called 'gone'"):
        load_recipe(str(tmp_path / "three.toml"))


@pytest.mark.parametrize("base", ["[]", "3", "true", '""', '["standard"]', "{ name = 'standard' }"])
def test_a_base_that_is_no_name_is_refused(base, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(f'base = {base}\nname = "own"\ntitle = "Own"\n')
    with pytest.raises(InputError, match=r"own.toml: base names the recipe.*found .*There are: .*standard"):
        load_recipe(str(path))


@pytest.mark.parametrize("name", ["standard", "woods2019-all"])
def test_no_value_of_a_recipe_is_a_traceback(name, tmp_path):
    def leaves(values, at=()):
        for key, value in values.items():
            yield (*at, key)
            if isinstance(value, dict):
                yield from leaves(value, (*at, key))

    known = load_recipe(name).model_dump(mode="json", exclude_none=True)
    path, refused = tmp_path / "own.toml", 0
    for *above, last in list(leaves(known)):
        for wrong in ([], {}, "x", -1, [[]]):
            changed = copy.deepcopy(known)
            functools.reduce(operator.getitem, above, changed)[last] = wrong
            path.write_text(tomli_w.dumps(changed))
            try:
                load_recipe(str(path))
            except InputError:
                refused += 1
    assert refused > 100


def test_a_file_that_is_no_toml_or_lacks_a_key_is_named(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("name = [")
    with pytest.raises(InputError, match=r"broken.toml is not a TOML file"):
        load_recipe(str(broken))
    broken.write_text('title = "No name"')
    with pytest.raises(InputError, match=r"broken.toml: the key 'name' is missing"):
        load_recipe(str(broken))
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"broken.toml is not a TOML file"):
        load_recipe(str(broken))


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("seeds=[]", ["seeds"]),
        ("seeds=[0, 0]", ["seeds must differ"]),
        ("evaluation.resample=10", ["Did you mean 'resamples'?"]),
        ("evaluation.robustness.size=[]", ["Did you mean 'sizes'?"]),
        ("evaluation.methods=['cam', 'salency']", ["evaluation.methods", "Did you mean 'saliency'?"]),
        ("evaluation.headline=['auprk']", ["evaluation.headline", "Did you mean 'auprc'?"]),
        ("evaluation.methods=['saliency']", ["box_methods must be among methods", "cam"]),
        ("evaluation.targets=[{name='a'}, {name='a'}]", ["every target needs a name of its own"]),
        ("data.nme=x", ["Did you mean 'name'?"]),
        ("variants=[]", ["variants"]),
    ],
)
def test_a_wrong_value_of_a_study_is_named(override, parts):
    with pytest.raises(InputError) as caught:
        load_study("demo", [override])
    for part in ["demo.toml", *parts]:
        assert part in str(caught.value)


def test_two_variants_may_not_share_a_folder():
    variants = "[{recipe='standard', label='a b'}, {recipe='standard', label='a-b'}]"
    with pytest.raises(InputError, match="every variant needs a label of its own"):
        load_study("demo", [f"variants={variants}"])


def test_a_variants_settings_lie_over_the_studys(tmp_path):
    study = load_study(
        "demo",
        [
            "settings.training.epochs=2",
            "variants=[{recipe='standard', label='x', settings={training={epochs=5}}}]",
            "conclusions.primary=[]",
        ],
    )
    (run,) = plan(study, tmp_path)
    assert run.recipe.training.epochs == 5
    assert run.recipe.training.batch_size == 32


def test_nearest_is_no_guess_where_nothing_is_near():
    assert nearest("zzz", ["cam", "saliency"]) == "There are: cam, saliency."


def test_the_recipes_are_toml_without_repeated_defaults():
    """A child says only what differs from its base: no value of the base stands in it again."""
    for name, path in bundled("recipes").items():
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        if "base" not in values:
            continue
        base = load_recipe(values["base"]).model_dump(mode="json")
        for section in set(values) & {"model", "optimizer", "schedule", "augment", "training"}:
            repeated = [k for k, v in values[section].items() if base[section].get(k) == v]
            assert not repeated, f"{name} repeats {section}.{repeated}"


def test_none_takes_away_what_a_recipe_has():
    assert load_recipe("woods2019-robust", ["objective.gradient_penalty=none"]).objective.gradient_penalty is None
    fixed = load_recipe("woods2019-robust", ["objective.gradient_penalty.adaptive=none"]).objective.gradient_penalty
    assert fixed.adaptive is None
    assert fixed.weight == 220


@pytest.mark.parametrize("name", [n for n in recipe_names() if load_recipe(n).augment.flip])
def test_no_recipe_mirrors_what_the_dataset_does_not_allow(name):
    recipe = load_recipe(name)
    said = {"phantom": 0.0, "chestxray14": 0.0, "jsrt": 0.0, "dicom": 0.0, "table": 0.0, "folder": 0.0}
    said |= {"cifar10": 0.5, "imagenet": 0.5, "coco": 0.5}
    for dataset, flip in said.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            settled = resolve(recipe, get_entry(dataset).card)
        assert settled.augment.flip == flip
        assert settled.augment.pad == recipe.augment.pad
        assert ["augment.flip is 0" in str(w.message) for w in caught] == [True] * (flip == 0)


def test_a_number_of_mirror_images_is_obeyed():
    asked = load_recipe("woods2019-standard", ["augment.flip=0.3"])
    assert resolve(asked, get_entry("phantom").card) == asked
    with pytest.raises(InputError, match=r'augment\.flip: expected a number from 0 to 1, or "data"; found 1\.5'):
        load_recipe("standard", ["augment.flip=1.5"])
    with pytest.raises(InputError, match="expected a number from 0 to 1"):
        load_recipe("standard", ["augment.flip=sometimes"])
    with pytest.raises(InputError, match="once the dataset is known"):
        Augmentation(load_recipe("woods2019-standard").augment)
