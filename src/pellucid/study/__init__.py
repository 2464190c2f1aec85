"""A study: recipes × seeds on one dataset → runs → evaluation → report."""

from pellucid.study.config import StudyConfig, load_study
from pellucid.study.run import run_study

__all__ = ["StudyConfig", "load_study", "run_study"]
