#!/usr/bin/env bash
# `onnxpress gate` under its earlier name: ci/model_gate.sh MODEL SAMPLE NAME OUT [loadtest flags ...]
exec "${ONNXPRESS:-onnxpress}" gate "$@"
