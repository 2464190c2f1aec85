"""Training: recipes, objectives, and the loop."""

from pellucid.training.loop import train
from pellucid.training.objectives.objective import Objective
from pellucid.training.recipe import Recipe, load_recipe, recipe_names
from pellucid.training.run import RunFolder
from pellucid.training.session import TrainingError
from pellucid.training.validation import MetricFn

__all__ = [
    "MetricFn",
    "Objective",
    "Recipe",
    "RunFolder",
    "TrainingError",
    "load_recipe",
    "recipe_names",
    "train",
]
