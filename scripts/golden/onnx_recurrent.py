#!/usr/bin/env python3
"""ONNX's node cases of RNN, LSTM and GRU: tests/golden/onnx_recurrent.csv, which src/nn/recurrent/tests.rs reads.

    scripts/golden/onnx_recurrent.py > tests/golden/onnx_recurrent.csv

With the package onnx (written with 1.23.2). Names and rows are those of scripts/golden/recurrent.py, without gradients; gates are
brought into PyTorch's order. Left out: peepholes, reversed sequences
alone, and the outputs of all times; the last h or c is compared.
"""

import numpy
from onnx import helper
from onnx.backend.test.case.node import collect_testcases

ORDER = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}


def row(name, what, i, x):
    values = " ".join(f"{v:.9g}" for v in x.flatten().tolist())
    print(f"{name};{what};{i};{'x'.join(map(str, x.shape))};{values}")


print("# By scripts/golden/onnx_recurrent.py.")
for case in collect_testcases(None):
    node = case.model.graph.node[0]
    own = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    direction = own.get("direction", b"forward")
    if node.op_type not in ORDER or direction == b"reverse" or len(node.input) > 4:
        continue
    kind = {"LSTM": "lstm", "GRU": "gru-before", "RNN": "tanh"}[node.op_type]
    inputs, outputs = case.data_sets[0]
    x, weights = inputs[0], inputs[1:3]
    is_batch_first = own.get("layout", 0) == 1
    options = ["bidirectional"] if direction == b"bidirectional" else []
    options += [] if is_batch_first else ["time-first"]
    hidden = own["hidden_size"]
    order = numpy.concatenate([numpy.arange(hidden) + hidden * k for k in ORDER[node.op_type]])
    rows = len(order)
    biases = inputs[3] if len(inputs) > 3 else numpy.zeros((weights[0].shape[0], 2 * rows), numpy.float32)
    # Which of outputs, last h and last c is given last.
    options += ["cells"] if list(node.output).index([o for o in node.output if o][-1]) == 2 else []
    name = "/".join([kind, "1", *options, case.name])
    row(name, "input", 0, x)
    at = 0
    for direction in range(weights[0].shape[0]):
        for weight in [*(w[direction] for w in weights), biases[direction][:rows], biases[direction][rows:]]:
            row(name, "weight", at, weight[order])
            at += 1
    # The last state is the last output; layout 1 has the batch first there, too.
    last = outputs[-1].transpose(1, 0, 2) if is_batch_first else outputs[-1]
    row(name, "out", 1, last)
