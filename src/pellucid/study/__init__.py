"""A study: recipes × seeds on one dataset → runs → evaluation → report."""

from pellucid.study.config import StudyConfig, load_study

__all__ = ["StudyConfig", "load_study"]
