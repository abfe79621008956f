"""The configurations of scikit-learn: one tuple from each family's file."""

from tests.converters.matrix import sklearn_model_cases, sklearn_step_cases, sklearn_tree_cases
from tests.converters.matrix.case import Case

CASES: tuple[Case, ...] = (*sklearn_tree_cases.CASES, *sklearn_model_cases.CASES, *sklearn_step_cases.CASES)
