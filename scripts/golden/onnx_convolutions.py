#!/usr/bin/env python3
"""ONNX's node cases of convolutions, transposed ones and resizing: tests/golden/onnx_convolutions.csv, which
src/nn/conv_tests.rs reads.

    scripts/golden/onnx_convolutions.py > tests/golden/onnx_convolutions.csv

With the package onnx (written with 1.15). Names and rows are those of scripts/golden/convolutions.py, without gradients; where
padding is chosen by its rule, the rule stands in the place of the numbers. Left out: cubic and antialiased interpolation, cuts, and
coordinates by other rules than ours.
"""

import glob
import os

import numpy
import onnx
from onnx import numpy_helper

NODES = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data", "node")
# Nearest: those whose rounding is that of whole factors, or of floor(o n / m).
RESIZED = [
    "resize_upsample_scales_nearest", "resize_upsample_sizes_nearest", "upsample_nearest", "resize_upsample_scales_linear",
    "resize_upsample_scales_linear_align_corners",
]


def row(name, what, i, x):
    values = " ".join(f"{v:.9g}" for v in x.flatten().tolist())
    print(f"{name};{what};{i};{'x'.join(map(str, x.shape))};{values}")


def words(numbers):
    return ",".join(map(str, numbers))


def read(path):
    tensor = onnx.TensorProto()
    with open(path, "rb") as file:
        tensor.ParseFromString(file.read())
    return numpy_helper.to_array(tensor)


def options(node, x, w, y):
    """The name of a convolution, or None where it has no numbers of ours."""
    own = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    axes = x.ndim - 2
    stride, dilation = own.get("strides", [1] * axes), own.get("dilations", [1] * axes)
    more, groups = own.get("output_padding", [0] * axes), own.get("group", 1)
    pads = own.get("pads", [0] * 2 * axes)
    rule = own.get("auto_pad", b"NOTSET").decode()
    padding = words(p for axis in range(axes) for p in (pads[axis], pads[axes + axis]))
    if rule in ("SAME_UPPER", "SAME_LOWER"):
        padding = rule
    elif "output_shape" in own:
        # What is missing is put at the end; there are no cases of more.
        spans = [(w.shape[2 + axis] - 1) * dilation[axis] + 1 for axis in range(axes)]
        whole = [stride[axis] * (x.shape[2 + axis] - 1) + spans[axis] for axis in range(axes)]
        more = [wanted - extent for wanted, extent in zip(own["output_shape"], whole)]
    what = "conv" if node.op_type == "Conv" else "transpose"
    return f"{what}/{words(stride)}/{padding}/{words(dilation)}/{words(more)}/{groups}"


print("# By scripts/golden/onnx_convolutions.py.")
for path in sorted(glob.glob(os.path.join(NODES, "*", "model.onnx"))):
    folder = os.path.dirname(path)
    case = os.path.basename(folder).removeprefix("test_")
    node = onnx.load(path).graph.node[0]
    if node.op_type not in ("Conv", "ConvTranspose") and case not in RESIZED:
        continue
    data = os.path.join(folder, "test_data_set_0")
    inputs = [read(f) for f in sorted(glob.glob(os.path.join(data, "input_*.pb")))]
    [y] = [read(f) for f in glob.glob(os.path.join(data, "output_*.pb"))]
    if case in RESIZED:
        how = "linear" if "linear" in case else "nearest"
        name, inputs = f"upsample/{words(y.shape[2:])}/{how}/{int('align' in case)}", inputs[:1]
    else:
        name = options(node, *inputs[:2], y)
    for i, x in enumerate(inputs):
        row(f"{name}#{case}", "input", i, x)
    row(f"{name}#{case}", "out", 0, y)
