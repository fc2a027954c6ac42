"""Networks written in PyTorch, for `test_onnx.py`. Run with PyTorch installed, it writes torch_model.onnx and torch_model.npz:

    python tests/torch_models.py

a small network as PyTorch's exporter writes it, with an image and what PyTorch makes of it, for where PyTorch is not installed.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

PATH = Path(__file__).with_name("torch_model.onnx")


class Fire(nn.Module):
    def __init__(self, C, squeeze, expand):
        super().__init__()
        self.squeeze, self.expand1x1 = nn.Conv2d(C, squeeze, 1), nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet v1.1, its parameters named as in torchvision."""

    def __init__(self, classes=1000):
        super().__init__()

        def pool():
            return nn.MaxPool2d(3, 2, ceil_mode=True)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(inplace=True), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool(),
            Fire(128, 32, 128), Fire(256, 32, 128), pool(),
            Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256))
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(512, classes, 1), nn.ReLU(inplace=True),
                                        nn.AdaptiveAvgPool2d(1))

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


class Block(nn.Module):
    """Two convolutions and a bypass, as in ResNet-18."""

    def __init__(self, C, F, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(C, F, 3, stride, 1, bias=False), nn.BatchNorm2d(F)
        self.conv2, self.bn2 = nn.Conv2d(F, F, 3, 1, 1, bias=False), nn.BatchNorm2d(F)
        self.down = nn.Sequential(nn.Conv2d(C, F, 1, stride, bias=False), nn.BatchNorm2d(F)) if C != F else nn.Identity()

    def forward(self, x):
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + self.down(x))


def resnet(sides=(64, 64, 64, 128, 128, 256, 256, 512, 512), classes=1000):
    """ResNet-18, or with other numbers of channels a smaller one."""
    blocks = [Block(C, F, 1 + (C != F)) for C, F in zip(sides, sides[1:])]
    return nn.Sequential(nn.Conv2d(3, sides[0], 7, 2, 3, bias=False), nn.BatchNorm2d(sides[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                         *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(sides[-1], classes))


class Flat(nn.Module):
    """Flattens an image, whose size it asks for."""

    def __init__(self):
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 24 * 24, 5), nn.Linear(5, 4)

    def forward(self, x):
        x = nn.functional.max_pool2d(nn.functional.leaky_relu(self.conv(x), 0.2), 2)
        return torch.softmax(self.two(nn.functional.elu(self.one(x.view(x.size(0), -1)))), 1)


MODELS = {"SqueezeNet 1.1": lambda: SqueezeNet(10), "ResNet-18": resnet, "flat": Flat}


def write(model, x, path, opset):
    """PyTorch's exporter; batch norm stays one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                             # that exporter is deprecated
        torch.onnx.export(model, x, str(path), dynamo=False, opset_version=opset, dynamic_axes={"x": {0: "N"}}, input_names=["x"])


if __name__ == "__main__":
    torch.manual_seed(0)
    model, x = resnet((8, 8, 16), classes=3).eval(), torch.randn(2, 3, 33, 33)
    write(model, x, PATH, 13)
    np.savez(PATH.with_suffix(".npz"), x=x.permute(0, 2, 3, 1).numpy(), y=model(x).detach().numpy())
