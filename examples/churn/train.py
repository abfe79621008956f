"""Two churn models on the same columns, trained without onnxpress.

`python -m examples.churn.train FOLDER` writes both pipelines and the rows they were trained on.
"""

import os

# For small models threads of OpenMP cost more than they save. Read when the libraries are loaded.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")

import argparse
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier

DATA = Path(__file__).with_name("telco_churn.csv")
TARGET = "Churn"
IDENTIFIER = "customerID"  # unique for each customer, so it is not a feature
HOLDOUT = 0.2
SEED = 7
# In the order of their versions.
MODELS = ("xgboost", "sklearn")


def read() -> tuple[pd.DataFrame, "pd.Series[int]"]:
    """The customers' features (19 columns), and whether each churned (1) or not (0)."""
    table = pd.read_csv(DATA)
    # Blank for the 11 customers without a first bill: a missing value, not zero.
    table["TotalCharges"] = pd.to_numeric(table["TotalCharges"], errors="coerce")
    return table.drop(columns=[IDENTIFIER, TARGET]), (table[TARGET] == "Yes").astype(int)


def texts(rows: pd.DataFrame) -> list[str]:
    """The columns that hold text."""
    return [str(column) for column in rows if not pd.api.types.is_numeric_dtype(rows[column])]


def build(name: str, rows: pd.DataFrame) -> Pipeline:
    """An untrained pipeline for `rows`: text columns one-hot, numbers as they are, then the classifier `name`."""
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("text", encode, texts(rows))], remainder="passthrough")
    classifier = {
        "xgboost": XGBClassifier(n_estimators=100, max_depth=4, learning_rate=0.1, n_jobs=1, random_state=SEED),
        "sklearn": HistGradientBoostingClassifier(max_iter=60, learning_rate=0.1, max_leaf_nodes=15, random_state=SEED),
    }[name]
    return Pipeline([("columns", columns), ("classifier", classifier)])


def train(folder: Path) -> dict[str, float]:
    """Trains both models and returns their AUC on the holdout, by name.

    Writes `<name>.joblib` per model, `sample.csv` (the training rows), `holdout.csv`, and `answers.csv`: the churn
    probability of each holdout row by each original model.
    """
    rows, churned = read()
    train_rows, holdout_rows, train_churned, holdout_churned = train_test_split(
        rows, churned, test_size=HOLDOUT, stratify=churned, random_state=SEED
    )
    folder.mkdir(parents=True, exist_ok=True)
    train_rows.to_csv(folder / "sample.csv", index=False)
    holdout_rows.to_csv(folder / "holdout.csv", index=False)
    answers = {}
    for name in MODELS:
        model = build(name, rows).fit(train_rows, train_churned)
        joblib.dump(model, folder / f"{name}.joblib")
        answers[name] = model.predict_proba(holdout_rows)[:, 1].astype(float)
    pd.DataFrame(answers).to_csv(folder / "answers.csv", index=False)
    return {name: float(roc_auc_score(holdout_churned, scores)) for name, scores in answers.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the two churn models.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the models and their rows go")
    for name, auc in train(parser.parse_args().folder).items():
        print(f"{name:<8} holdout AUC {auc:.4f}")


if __name__ == "__main__":
    main()
