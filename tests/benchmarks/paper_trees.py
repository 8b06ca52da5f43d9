"""Miniature copies of the paper's data sets and of its published repository, in exactly their formats."""

from pathlib import Path

import numpy as np
from PIL import Image
from timm.data import ImageNetInfo

CLASSES = ["Drill", "Exit_Sign", "Bottle", "Alarm_Clock"]  # in the order of the published labels, not of the alphabet
WORDNET = {row: ImageNetInfo("imagenet-1k").label_names()[row] for row in (1, 134, 517, 700)}  # two of them "crane"


def picture(path: Path, shade: int) -> None:
    """A 16-pixel image, noisy, about as bright as `shade`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(sum(path.as_posix().encode()[-20:])).integers(0, 40, (16, 16, 3))
    Image.fromarray((shade + noise).astype(np.uint8)).save(path)


def office_home(folder: Path, per_class: int = 5) -> Path:
    """Four domains of four classes each."""
    for domain in ("Art", "Clipart", "Product", "Real World"):
        for label, name in enumerate(CLASSES):
            for number in range(1, per_class + 1):
                picture(folder / domain / name / f"{number:05d}.jpg", 50 * label)
    return folder


def renditions(folder: Path, per_class: int = 5, suffix: str = "jpg") -> Path:
    """Class folders named by WordNet ids, and a file beside them."""
    for shade, name in enumerate(WORDNET.values()):
        for number in range(per_class):
            picture(folder / name / f"sketch_{number}.{suffix}", 50 * shade)
    (folder / "README.txt").write_text("A note.\n")
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def orders(repository: Path, text: str) -> None:
    """The file of class orders: tensors among imports and functions."""
    after = "\nN_CLASSES = 4\n\n\ndef pick(order, n):\n    raise RuntimeError('nobody runs this')\n"
    _write(repository / "py/HT_HARDCODED.py", f"import torch\n\n\n# Class order\n{text}{after}")


def published(repository: Path) -> Path:
    """Lists and orders for both trees: images 1 to 3 of a class are training images, 4 and 5 test images."""
    for domain in ("Art", "Clipart", "Product", "Real_World"):
        for part, numbers in (("training", (3, 1, 2)), ("testing", (5, 4))):
            lines = [f"{domain}/{name}/{n:05d}.jpg {label}" for label, name in enumerate(CLASSES) for n in numbers]
            _write(repository / f"asset/OfficeHome/image_list/{domain}_{part}.txt", "\n".join(lines) + "\n")
    for letter, suffix in (("R", "jpg"), ("S", "JPEG")):
        for part, numbers in (("training", (2, 0, 1)), ("testing", (4, 3))):
            lines = [
                f"imagenet-{letter.lower()}/{name}/sketch_{n}.{suffix} {row}"
                for row, name in WORDNET.items()
                for n in numbers
            ]
            _write(repository / f"asset/ImageNet/image_list/{letter}_{part}.txt", "\n".join(lines))
    orders(
        repository,
        "OFFICEHOME_SOURCE_AR = torch.tensor(\n    [3, 1,\n     0, 2])\n"
        "OFFICEHOME_SOURCE_RW = torch.tensor(\n    [2, 0, 1, 3])\n"
        "IMAGENET_TARGET_R = torch.tensor(\n    [517, 1, 700, 134])\n"
        "IMAGENET_TARGET_S = torch.tensor([700, 134, 1, 517])\n",
    )
    return repository


def vtab(folder: Path, per_class: int = 4) -> Path:
    """One task with class folders."""
    for part in ("train", "test"):
        for label, name in enumerate(("ant", "bee", "cat")):
            for number in range(per_class):
                picture(folder / "pets" / part / name / f"{part}{number}.png", 60 * label)
    return folder


def iwildcam(folder: Path) -> Path:
    """Three places: the fox comes late to place 7, in three sequences; the boar is nowhere else; 8 has one class."""
    frames = [  # split, place, sequence, time, class
        *[("train", 1, 10 + n, f"2013-01-0{1 + n} 10:00:00.000", n % 3) for n in range(6)],
        *[("test", 7, 20 + n, f"2013-05-0{1 + n} 23:59:30.000", n % 2) for n in range(4)],
        ("test", 7, 23, "2013-05-05 00:00:01.000", 1),  # the same sequence after midnight
        ("test", 7, 30, "2013-06-02 10:00:00.000", 2),
        ("id_test", 7, 31, "2013-06-03 10:00:00.000", 0),
        ("test", 7, 32, "2013-06-04 10:00:00.000", 3),
        ("test", 7, 33, "2013-06-05 10:00:00.000", 2),
        ("test", 7, 34, "2013-06-06 10:00:00.000", 2),
        *[("val", 8, 40 + n, f"2013-01-0{1 + n} 10:00:00.000", 0) for n in range(3)],
    ]
    lines = [",split,location_remapped,location,sequence_remapped,datetime,seq_id,y,category_id,filename,image_id"]
    for number, (split, place, sequence, time, y) in enumerate(frames):
        name = f"image{number}.jpg"
        picture(folder / "train" / name, 60 * y)
        lines.append(
            f"{number},{split},{place},{place + 100},{sequence},{time},s{sequence},{y},{y * 7},{name},i{number}"
        )
    _write(folder / "metadata.csv", "\n".join(lines) + "\n")
    _write(folder / "categories.csv", "y,category_id,name\n0,0,empty\n1,7,deer\n2,14,fox\n3,21,boar\n")
    return folder


def iwildcam_year(folder: Path) -> Path:
    """Place 7 over months of one year, larger: four classes from May on, four more from June on, all brighter later."""
    frames = [("train", 1, f"2013-01-{1 + n:02d}", y) for y in range(8) for n in range(12)]
    frames += [("test", 7, f"2013-05-{1 + n:02d}", y) for y in range(4) for n in range(20)]
    frames += [("test", 7, f"2013-{m:02d}-{1 + n:02d}", y) for m in (6, 7, 8, 9) for y in range(8) for n in range(5)]
    lines = ["split,location_remapped,sequence_remapped,datetime,y,filename"]
    for number, (split, place, day, y) in enumerate(frames):
        name = f"image{number}.jpg"
        picture(folder / "train" / name, 22 * y + 2 * int(day[6]))
        lines.append(f"{split},{place},{number},{day} 10:00:00.000,{y},{name}")
    _write(folder / "metadata.csv", "\n".join(lines) + "\n")
    _write(folder / "categories.csv", "y,name\n" + "".join(f"{y},animal{y}\n" for y in range(8)))
    return folder
