"""Modules that have no test file of their own, and what covers them instead; test_architecture.py holds this list."""

# Modules of server and converters without a test file of their own -> the tests that cover them instead, and why those
# suffice. This list only shrinks.
MATRIX = "emitters of estimators, each converted and compared by tests/converters/test_matrix.py"
EMITTERS = """adaboost bayes boosters boosting calibration compose dummy encoders ensembles features histogram imputers
    knn_imputer linear multioutput neighbors neural outliers scalers splines trees vectors"""
UNTESTED = {
    **{f"converters/from_sklearn/{name}.py": MATRIX for name in EMITTERS.split()},
    "converters/from_lightgbm/linear.py": "linear trees against predict: tests/converters/from_lightgbm/test_family.py",
    "converters/from_lightgbm/model.py": "every kind of booster is read: tests/converters/from_lightgbm/test_family.py",
    "converters/from_xgboost/answers.py": "original and compiled model: tests/converters/from_xgboost/test_family.py",
    "converters/from_xgboost/model.py": "every kind of booster is read: tests/converters/from_xgboost/test_family.py",
    "converters/from_xgboost/reading.py": "objectives, tasks, rounds: tests/converters/from_xgboost/test_family.py",
    "converters/gate/generators.py": "each finds its planted fault: tests/converters/gate/test_parity.py",
    "converters/progress.py": "a dataclass without logic, filled in tests/converters/test_convert.py",
    "server/cli/rollout.py": "every action against a server: tests/e2e/test_rollouts.py",
    "server/cli/rollout_options.py": "the options of a deploy: tests/server/cli/test_admin.py",
    "server/rollouts/guards.py": "what each says, and what follows: tests/server/rollouts/test_decide.py",
    "server/rollouts/windows.py": "dataclasses, merged in tests/server/rollouts/test_decide.py",
    "server/rpc/plan_messages.py": "plans over the socket: tests/e2e/test_planned_rollouts.py",
    "server/rpc/rollout_messages.py": "plans that are refused: tests/conformance/test_admin.py",
    "server/versions/rollout_message.py": "a round trip in tests/server/versions/test_rollout.py",
    "server/versions/targets.py": "what each call makes of a deployment: tests/server/versions/test_rollout.py",
    "server/errors.py": "exceptions without logic; each has its status in tests/server/wire/test_status.py",
    "server/facts.py": "dataclasses without logic, read in tests/server/telemetry/test_metrics.py",
    "server/serving/front.py": "a protocol; both fronts against one suite: tests/conformance/test_tritonclient.py",
    "server/serving/lane.py": "lanes with planted runs: tests/server/serving/test_pump.py",
    "server/serving/request.py": "a record; split and joined by tests/server/serving/test_pump.py",
    "server/serving/tensors.py": "signatures: tests/server/serving/test_contract.py",
    "server/sources/source.py": "a protocol; its one implementation: tests/server/sources/test_folder.py",
    "server/versions/loader.py": "every way to fail: tests/e2e/test_refused_deploys.py, tests/e2e/test_starting.py",
    "server/versions/model.py": "state without logic: tests/server/versions/test_reconciler.py",
    "server/versions/status.py": "through status and history: tests/conformance/test_admin.py",
    "server/wire/strings.py": "BYTES against the full parser: tests/server/wire/test_templates.py",
    "server/wiring.py": "start, serve, drain, stop: tests/e2e/test_shutdown.py, tests/e2e/test_starting.py",
}
