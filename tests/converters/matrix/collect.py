"""All configurations of the matrix, from the module of each framework."""

import importlib
from importlib.util import find_spec

from tests.converters.matrix.case import Case

FRAMEWORKS = {"xgboost": "XGBoost", "lightgbm": "LightGBM", "sklearn": "scikit-learn"}


def cases_by_framework() -> dict[str, list[Case]]:
    """Framework -> its configurations."""
    modules = {title: f"tests.converters.matrix.{name}_cases" for name, title in FRAMEWORKS.items()}
    return {title: list(importlib.import_module(name).CASES) for title, name in modules.items() if find_spec(name)}


def all_cases() -> list[Case]:
    return [case for cases in cases_by_framework().values() for case in cases]
