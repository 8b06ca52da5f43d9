"""Checkpoints that are damaged, of another network, or that would run code if they could."""

import json
import os
import struct
import zipfile
from pathlib import Path

import safetensors.torch
import torch

from tests.hostile.pictures import CALIBRATE
from tests.hostile.row import Row, both, cut, folder_at, nothing, raw, remove, text
from tests.hostile.workshop import ARCH

FINETUNE = (
    f"finetune --model {ARCH} --checkpoint model.pth --classes names.txt --image-size 16 --data seen --epochs 1 "
    "--output out/new.safetensors"
)
TENSORS = CALIBRATE + " --checkpoint model.safetensors"
IMPORT = f"manifest network mine --model {ARCH} --weights model.pth --classes names.txt"
FOLDER = "calibrate --checkpoint net --data seen --seen ash,birch --output out"


def state(**changed):
    """Save the sound state dict again, with tensors changed by functions, or left out where there is None."""

    def spoil():
        tensors = torch.load("model.pth", weights_only=True)
        for name, change in changed.items():
            name = name.replace("__", ".")
            tensors[name] = change(tensors[name])
        torch.save(tensors, "model.pth")
        safetensors.torch.save_file(tensors, "model.safetensors")

    return spoil


def saved(value):
    """Save another object as the checkpoint."""
    return lambda: torch.save(value, "model.pth")


def header(value, data=b"", length=None):
    """A safetensors file with this header, as text or JSON."""
    written = value if isinstance(value, bytes) else json.dumps(value).encode()
    size = len(written) if length is None else length
    return raw("model.safetensors", struct.pack("<Q", size) + written + data)


def tensor(**changed):
    """A safetensors header of one tensor of four bytes, with fields changed."""
    return {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | changed}


def bomb():
    """A checkpoint whose zip entry unpacks to 64 megabytes of zeros, a thousand times its size."""
    with zipfile.ZipFile("model.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/version", "3\n")
        with archive.open("model/data.pkl", "w") as entry:
            for _ in range(16):
                entry.write(bytes(1 << 22))


def claims_terabytes():
    """A tensor of a few bytes that says it is huge."""
    torch.save({"fc.weight": torch.zeros(1).expand(1 << 40)}, "model.pth")


def config(**fields):
    """A folder with a config.json and sound weights."""
    made = {"architecture": ARCH, "num_classes": 3, "pretrained_cfg": {"input_size": [3, 16, 16]}} | fields
    return both(text("net/config.json", json.dumps(made)), weights)


def weights():
    Path("net").mkdir(exist_ok=True)
    os.link("model.safetensors", "net/model.safetensors")


def pth(title, spoil, *words):
    """Three rows for a `.pth`: calibrated, fine-tuned, and imported into a manifest."""
    return [
        Row(f"{title}, to calibrate", spoil, CALIBRATE, ("model.pth", *words)),
        Row(f"{title}, to fine-tune", spoil, FINETUNE, ("model.pth", *words)),
        Row(f"{title}, to import", spoil, IMPORT, ("model.pth", *words)),
    ]


NAN = {"fc__weight": lambda weight: weight * float("nan")}
ROWS = [
    *pth("a .pth that is empty", raw("model.pth", b""), "damaged or no checkpoint"),
    *pth("a .pth that is cut off", cut("model.pth"), "damaged", "save"),
    *pth("a .pth without its end", cut("model.pth", 0.999), "damaged", "save"),
    *pth("a .pth of text", text("model.pth", "<html>404</html>\n"), "damaged or no checkpoint"),
    *pth("a .pth of zeros", raw("model.pth", bytes(9999)), "damaged or no checkpoint"),
    Row(
        "a .pth that is a folder", both(remove("model.pth"), folder_at("model.pth")), IMPORT, ("model.pth/config.json",)
    ),
    *pth("a .pth of a list", saved([1, 2]), "no state dict", "save"),
    *pth("a .pth of a tensor", saved(torch.zeros(3)), "no state dict"),
    *pth("a .pth of nothing", saved({}), "no state dict"),
    *pth("a .pth of numbers", saved({"fc.weight": 1}), "no state dict"),
    *pth("a .pth of numbered tensors", saved({1: torch.zeros(3)}), "no state dict"),
    *pth("a .pth of a whole module", saved(torch.nn.Linear(2, 2)), "never loaded", "state_dict"),
    *pth("a .pth of another network", saved(torch.nn.Linear(2, 2).state_dict()), ARCH),
    *pth(
        "a .pth with weights of another shape",
        state(conv1__0__weight=lambda w: w[:, :1].contiguous()),
        "another shape",
        "conv1",
    ),
    *pth("a .pth with a head of one dimension", state(fc__weight=lambda w: w[0]), "fc.weight"),
    *pth("a .pth with a head of no outputs", state(fc__weight=lambda w: w[:0], fc__bias=lambda b: b[:0]), "fc"),
    *pth("a .pth with a complex head", state(fc__weight=lambda w: w.to(torch.complex64)), "fc.weight"),
    *pth("a .pth of integers", state(fc__weight=lambda w: w.long()), "fc.weight"),
    *pth("a .pth with NaN in its weights", state(**NAN), "fc.weight", "not finite"),
    *pth("a .pth with infinite weights", state(fc__bias=lambda b: b + float("inf")), "fc.bias", "not finite"),
    *pth("a .pth that unpacks to a thousand times its size", bomb, "compressed"),
    *pth("a .pth that says it is a terabyte", claims_terabytes, "'fc.weight'", "no plain tensor"),
    Row("a checkpoint that is not there", remove("model.pth"), CALIBRATE, ("model.pth", "check the path")),
    Row(
        "a checkpoint without a suffix",
        lambda: os.rename("model.pth", "model"),
        CALIBRATE + " --checkpoint model",
        ("model", ".safetensors"),
    ),
    Row("a checkpoint that is a picture", nothing, CALIBRATE + " --checkpoint seen/ash/0.png", ("0.png", ".pth")),
    Row(
        "a checkpoint that is a pipe",
        both(remove("model.pth"), lambda: os.mkfifo("model.pth")),
        CALIBRATE,
        ("model.pth",),
    ),
    Row("tensors that are empty", raw("model.safetensors", b""), TENSORS, ("model.safetensors", "whole")),
    Row("tensors that are cut off", cut("model.safetensors"), TENSORS, ("model.safetensors", "whole")),
    Row("tensors cut in their header", cut("model.safetensors", 0.0001), TENSORS, ("model.safetensors", "whole")),
    Row("a header of no JSON", header(b"{x"), TENSORS, ("model.safetensors", "whole")),
    Row("a header of a list", header([]), TENSORS, ("model.safetensors", "whole")),
    Row("a header without tensors", header({}), TENSORS, ("model.safetensors", "no state dict")),
    Row("a header nested deeply", header(b'{"x":' * 9000), TENSORS, ("model.safetensors", "whole")),
    Row("a header of no UTF-8", header(b'{"\xff": 1}'), TENSORS, ("model.safetensors", "whole")),
    Row("a header longer than its file", header({}, length=1 << 40), TENSORS, ("model.safetensors", "whole")),
    Row("a header of 2**64 bytes", header({}, length=(1 << 64) - 1), TENSORS, ("model.safetensors", "whole")),
    Row("a header of an unknown type", header(tensor(dtype="F99"), bytes(4)), TENSORS, ("whole",)),
    Row("a header of a negative shape", header(tensor(shape=[-1]), bytes(4)), TENSORS, ("whole",)),
    Row("a header of a huge shape", header(tensor(shape=[1 << 40, 1 << 40]), bytes(4)), TENSORS, ("whole",)),
    Row("a header of places outside", header(tensor(data_offsets=[0, 99]), bytes(4)), TENSORS, ("whole",)),
    Row("a header of places backwards", header(tensor(data_offsets=[4, 0]), bytes(4)), TENSORS, ("whole",)),
    Row(
        "an unknown architecture", nothing, CALIBRATE + " --model resnet5", ("'resnet5'", "resnet50", "of 1", "nearest")
    ),
    Row("an architecture of nobody", nothing, CALIBRATE + " --model zzzzzzzz", ("'zzzzzzzz'", "of 1")),
    Row("no architecture", nothing, CALIBRATE + " --model ''", ("--model",)),
    Row("an architecture with an unknown tag", nothing, CALIBRATE + " --model resnet18.x", ("resnet18.x", "dot")),
    Row("an unknown architecture of torchvision", nothing, CALIBRATE + " --model torchvision/resnet", ("torchvision",)),
    Row("a device that is none", nothing, CALIBRATE + " --device gpu", ("'gpu'", "leave it empty")),
    Row("a GPU that is not there", nothing, CALIBRATE + " --device cuda:77", ("'cuda:77'", "leave it empty")),
    Row("a device without memory", nothing, CALIBRATE + " --device meta", ("'meta'", "leave it empty")),
    Row("a batch of none", nothing, CALIBRATE + " --batch-size 0", ("--batch-size", "positive")),
    Row("a mean of NaN", nothing, CALIBRATE + " --mean nan 0 0", ("--mean",)),
    Row("a deviation of infinity", nothing, CALIBRATE + " --std inf 1 1", ("--std",)),
    Row("an output that is an input", nothing, TENSORS + " --output model.safetensors", ("model.safetensors", "input")),
    Row("an output below a file", nothing, CALIBRATE + " --output model.pth/x.safetensors", ("model.pth", "no folder")),
    Row("an output that is a folder", folder_at("out/new.safetensors"), CALIBRATE, ("a folder", "choose another")),
    Row("an output with another suffix", nothing, CALIBRATE + " --output out/new.pth", ("--output", ".safetensors")),
    Row("a folder without a configuration", weights, FOLDER, ("net/config.json",)),
    Row("a folder of an unknown library", both(text("net/config.json", "{}"), weights), FOLDER, ("'architecture'",)),
    Row("a folder whose configuration is a list", text("net/config.json", "[]"), FOLDER, ("net/config.json", "object")),
    Row("a folder nested deeply", text("net/config.json", "[" * 99_999), FOLDER, ("net/config.json",)),
    Row("a folder of an unknown architecture", config(architecture="resnet5"), FOLDER, ("'resnet5'",)),
    Row("a folder of another number of classes", config(num_classes=7), FOLDER, ("net", "another shape")),
    Row("a folder of a billion classes", config(num_classes=10**12), FOLDER, ("net",)),
    Row(
        "a folder that would read another file",
        config(model_args={"checkpoint_path": "/etc/passwd"}),
        FOLDER,
        ("checkpoint_path", "remove"),
    ),
    Row(
        "a folder with pickled weights only",
        both(config(), lambda: os.rename("net/model.safetensors", "net/pytorch_model.bin")),
        FOLDER,
        ("no model.safetensors", "pickled"),
    ),
    Row("an optimizer that is none", nothing, FINETUNE + " --optimizer sdg", ("'sdg'", "sgd")),
    Row("a learning rate of NaN", nothing, FINETUNE + " --lr nan", ("lr",)),
    Row("a negative learning rate", nothing, FINETUNE + " --lr -1", ("lr",)),
    Row("epochs of none", nothing, FINETUNE + " --epochs 0", ("epochs",)),
    Row("a share of NaN held out", nothing, FINETUNE + " --hold-out nan", ("--hold-out",)),
    Row("an unknown method", nothing, FINETUNE + " --method ldif", ("'ldif'", "ldifs")),
    Row("an option without a value", nothing, FINETUNE + " --option x", ("'x'", "leave out")),
    Row("a text as seed", nothing, FINETUNE + " --seed one", ("--seed", "'one'")),
]
