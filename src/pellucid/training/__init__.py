"""Training: recipes, objectives, and the loop."""

from pellucid.training.held_out import Scorer
from pellucid.training.loop import TrainingError, train
from pellucid.training.objectives.objective import Objective
from pellucid.training.recipe import Recipe, load_recipe, recipe_names
from pellucid.training.run import RunFolder

__all__ = [
    "Objective",
    "Recipe",
    "RunFolder",
    "Scorer",
    "TrainingError",
    "load_recipe",
    "recipe_names",
    "train",
]
