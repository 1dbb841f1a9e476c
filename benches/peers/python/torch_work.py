"""What PyTorch is timed at: the training steps and the kernels, by their names."""
import re

import torch
from torch import nn


def mlp(sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.ReLU()] * bool(layers) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)


def cnn(pool_after_conv1, head):
    first = [nn.MaxPool2d(2)] if pool_after_conv1 else []
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), *first,
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), mlp(head))


class Transformer(nn.Module):
    """wgrad's `transformer`: a block with the normalization before each half, the mean over the sequence, and a linear layer."""

    def __init__(self, batch=8, length=64, width=128, heads=4, hidden=512):
        super().__init__()
        self.shape = (batch, length, heads, width // heads)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gelu, self.head = nn.GELU(approximate="tanh"), nn.Linear(width, 10)

    def forward(self, x):
        q, k, v = (part.reshape(self.shape).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=1))
        if hasattr(nn.functional, "scaled_dot_product_attention"):
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = q @ k.transpose(2, 3) * self.shape[3] ** -0.5
            mixed = scores.softmax(3) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        x = x + self.fc2(self.gelu(self.fc1(self.norm2(x))))
        return self.head(x.reshape(self.shape[0], self.shape[1], -1).mean(1))


class Lstm(nn.Module):
    """wgrad's `lstm`: one layer over 16 times, and a linear layer on its last output."""

    def __init__(self, inputs=64, hidden=128):
        super().__init__()
        self.lstm, self.head = nn.LSTM(inputs, hidden, batch_first=True), nn.Linear(hidden, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


TRAIN = {
    "mlp-a": ((64, 784), lambda: mlp([784, 128, 10])),
    "mlp-b": ((256, 784), lambda: mlp([784, 512, 512, 10])),
    "cnn-a": ((64, 1, 28, 28), lambda: cnn(True, [1568, 128, 10])),
    "cnn-8": ((64, 1, 8, 8), lambda: cnn(False, [512, 64, 10])),
    "lstm": ((32, 16, 64), Lstm),
    "transformer": ((512, 128), Transformer),
}


def training_step(workload, captured=False, compiled=False, fused=False):
    """A function that trains once and gives the loss; `captured` in a CUDA graph, which is replayed, `compiled` by
    torch.compile, `fused` with Adam as one kernel."""
    shape, build = TRAIN[workload]
    torch.manual_seed(0)
    x, model = torch.rand(shape), build()
    y = torch.tensor([i * 7 % 10 for i in range(8 if workload == "transformer" else shape[0])])
    optim = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=captured, fused=fused or None)
    loss_fn = nn.CrossEntropyLoss()

    def forward():
        return loss_fn(model(x), y)

    if compiled:
        forward = torch.compile(forward)

    def eager():
        optim.zero_grad(set_to_none=True)
        loss = forward()
        loss.backward()
        optim.step()
        return loss

    if not captured:
        return eager
    # A few steps beside the main stream, as PyTorch's notes on CUDA graphs ask for, then one that is recorded.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            eager()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optim.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        recorded = eager()

    def step():
        graph.replay()
        return recorded

    return step


def kernel(workload):
    """A function that runs a matrix product or a 3 x 3 convolution, and its operations: matmul-N, matmul-MxKxN,
    conv-IN-OUT-SIDE-bBATCH, conv64, and -input-gradient and -weight-gradient of convolutions. Call it without gradients."""
    if product := re.fullmatch(r"matmul-(\d+)(?:x(\d+)x(\d+))?", workload):
        m, k, n = (int(extent or product[1]) for extent in product.groups())
        a, b = torch.rand(m, k), torch.rand(k, n)
        return lambda: a @ b, 2.0 * m * k * n
    name = re.sub(r"^conv64", "conv-64-64-32-b8", workload)
    of = re.fullmatch(r"conv-(\d+)-(\d+)-(\d+)-b(\d+)(-(?:input|weight)-gradient)?", name)
    if not of:
        raise ValueError(f"no such workload: {workload}")
    c, o, side, images = map(int, of.groups()[:4])
    x, w, dy = torch.rand(images, c, side, side), torch.rand(o, c, 3, 3), torch.rand(images, o, side, side)

    def gradient(mask):
        return torch.ops.aten.convolution_backward(dy, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)

    run = {
        None: lambda: torch.conv2d(x, w, padding=1),
        "-input-gradient": lambda: gradient([True, False, False]),
        "-weight-gradient": lambda: gradient([False, True, False]),
    }[of[5]]
    return run, 2.0 * images * c * o * side * side * 9
