"""The configurations of scikit-learn: those of each family's file in one tuple."""

from tests.converters.matrix import (
    sklearn_column_cases,
    sklearn_distance_cases,
    sklearn_group_cases,
    sklearn_model_cases,
    sklearn_step_cases,
    sklearn_tree_cases,
)
from tests.converters.matrix.case import Case

CASES: tuple[Case, ...] = (
    *sklearn_tree_cases.CASES,
    *sklearn_model_cases.CASES,
    *sklearn_step_cases.CASES,
    *sklearn_group_cases.CASES,
    *sklearn_column_cases.CASES,
    *sklearn_distance_cases.CASES,
)
