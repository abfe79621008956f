"""The irregularities of the churn table."""

import pandas as pd

from examples.churn import train


def test_the_traps_of_the_table_are_handled() -> None:
    """Blank charges are missing numbers, the identifier and the target are no features, 0/1 stays a number."""
    rows, churned = train.read()
    assert rows.shape == (7043, 19)
    assert not {train.IDENTIFIER, train.TARGET} & set(rows.columns)
    missing = rows["TotalCharges"].isna()
    assert missing.sum() == 11
    assert (rows.loc[missing, "tenure"] == 0).all()
    assert pd.api.types.is_integer_dtype(rows["SeniorCitizen"])
    assert "TotalCharges" not in train.texts(rows)
    assert sorted(churned.unique()) == [0, 1]
