"""Folds on users' own data: what they train on, what they leave alone, and the way to gamma."""

import copy
import json
import re

import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from analysis_lib import ClassSplit, FoldRecipe, UserError, accuracies, average_logit_gap, calibrate, cli
from analysis_lib.analysis.gamma.estimators.pseudo_cv import pseudo_cross_validation
from analysis_lib.analysis.gamma.estimators.transported_cv import transported_gamma
from analysis_lib.core import paths
from analysis_lib.deploy import folds as module
from analysis_lib.deploy.folds import train_folds
from analysis_lib.models.gamma_bias import logits_of
from analysis_lib.training import loop

SPLIT = ClassSplit(8, [0, 2, 3, 5, 7])
RECIPE = FoldRecipe(epochs=3, lr=0.1, batch_size=16)
COLOURS = torch.tensor([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)], dtype=torch.float32)


def coloured(classes, n, random, side=6):
    """n noisy images of each class, (N, 3, side, side) in [0, 1], whose colour is the class, and labels (N,)."""
    labels = torch.tensor(list(classes)).repeat_interleave(n)
    noise = torch.randn(len(labels), 3, side, side, generator=random)
    images = 0.3 + 0.4 * COLOURS[labels][:, :, None, None] + 0.1 * noise
    return images.clamp(0, 1), labels


def darker(images):
    """The domain of the fine-tuning."""
    return 0.7 * images


def plain_loop(model, images, labels, steps, rate):
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def user():
    """A pre-trained and a fine-tuned network, and the fine-tuning images and labels; one class has a single image."""
    random = torch.Generator().manual_seed(3)
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        body = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        before = nn.Sequential(*body, nn.Dropout(0.1), nn.Linear(16, 8))
        plain_loop(before, *coloured(range(8), 20, random), 40, 0.1)
        images, labels = coloured(SPLIT.seen, 12, random)
        images, labels = darker(images[:-11]), labels[:-11]
        after = plain_loop(copy.deepcopy(before), images, labels, 30, 0.1)
    return before.eval(), after.eval(), images, labels


def folds_of(user, recipe=RECIPE, images=None):
    before, _, own, labels = user
    images = own if images is None else images
    return train_folds(before, images, labels, SPLIT, logits_of(before, images), recipe)


def test_every_seen_class_is_left_out_once_and_a_fifth_of_its_images_held_out(user, project):
    before, _, images, labels = user
    folds = folds_of(user)
    left_out = [sorted(SPLIT.seen[i] for i in fold.split.absent) for fold in folds]
    assert sorted(c for part in left_out for c in part) == list(SPLIT.seen) and [len(part) for part in left_out] == [
        2,
        2,
        1,
    ]
    for fold in folds:
        assert torch.equal(torch.tensor(SPLIT.seen)[fold.labels], labels)
        assert torch.equal(fold.pretrained_logits, logits_of(before, images)[:, list(SPLIT.seen)])
        assert [int(fold.held_out[labels == c].sum()) for c in SPLIT.seen] == [2, 2, 2, 2, 0], "never the only image"
        assert torch.equal(fold.held_out, folds[0].held_out) and len(fold.clusters.unique()) == len(labels)
        own = accuracies(fold.logits[fold.trained], fold.labels[fold.trained], fold.split)
        assert own["acc_ss"] > 0.8 and fold.logits.shape == (len(labels), 5)


def test_one_full_step_of_a_fold_is_a_gradient_step_of_its_own_images(user, project):
    """Only trained images enter: the other rows of the loss are left out here by hand."""
    before, _, images, labels = user
    before = nn.Sequential(*(layer for layer in before if not isinstance(layer, nn.Dropout)))
    recipe = FoldRecipe(1, 0.05, momentum=0, weight_decay=0, batch_size=64, crop_scale=None, flip=False)
    for fold in train_folds(before, images, labels, SPLIT, logits_of(before, images), recipe):
        stepped, rows = copy.deepcopy(before).train(), fold.split.is_seen(fold.labels) & ~fold.held_out
        functional.cross_entropy(stepped(images[rows]), labels[rows]).backward()
        with torch.no_grad():
            for weight in stepped.parameters():
                weight -= 0.05 * weight.grad
        expected = logits_of(stepped, images)[:, list(SPLIT.seen)]
        assert torch.allclose(fold.logits, expected, atol=1e-5)
        assert not torch.allclose(fold.logits, fold.pretrained_logits, atol=1e-2)


def test_held_out_and_left_out_images_train_nothing(user, project):
    """Spoiling them leaves the logits of the images that were trained on, with augmentation and dropout.

    The streams are named after the data, so the name is held fixed here.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "digest_data", lambda *arguments: "one name")
        honest = folds_of(user)
        for number, fold in enumerate(honest):
            images = user[2].clone()
            images[~fold.trained] = torch.rand(images[~fold.trained].shape)
            for file in paths.runs().rglob("fold.safetensors"):
                file.unlink()
            spoiled = folds_of(user, images=images)[number]
            assert torch.allclose(spoiled.logits[fold.trained], fold.logits[fold.trained], atol=1e-6)
            assert not torch.allclose(spoiled.logits, fold.logits, atol=1e-2)


def test_gamma_is_that_of_the_folds_and_the_users_models_stay_as_they_were(user, project):
    before, after, images, labels = user
    before, after = copy.deepcopy(before), copy.deepcopy(after)
    before[0].requires_grad_(False)
    before[1].train()
    modes = [[layer.training for layer in model.modules()] for model in (before, after)]
    states = [copy.deepcopy(model.state_dict()) for model in (before, after)]
    loader = list(zip(images.split(10), labels.split(10)))
    noise = torch.get_rng_state()
    found = calibrate(after, iter(loader), SPLIT.seen, method="auto", pretrained=before, folds=RECIPE)
    assert torch.equal(torch.get_rng_state(), noise)
    for model, state, mode in zip((before, after), states, modes):
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), state.values()))
        assert [layer.training for layer in model.modules()] == mode
    assert [p.requires_grad for p in before.parameters()] == [False, False, True, True, True, True]

    logits, folds = logits_of(after, images), folds_of(user)
    assert found.report["method"] == "transported_cv"
    assert found.gamma == pytest.approx(transported_gamma(logits, labels, SPLIT, folds), abs=1e-4)
    told = calibrate(after, loader, SPLIT.seen, "auto", before, absent_share=0.8, folds=RECIPE)
    assert told.gamma == pytest.approx(transported_gamma(logits, labels, SPLIT, folds, 0.8), abs=1e-4)
    assert told.gamma >= found.gamma and told.report["absent_share"]["value"] == 0.8
    fallback = average_logit_gap(logits, labels, SPLIT)
    thirds = calibrate(after, loader, SPLIT.seen, "pcv_thirds", before, folds=RECIPE)
    assert thirds.gamma == pytest.approx(pseudo_cross_validation(folds, fallback), abs=1e-4)

    about = found.report["folds"]
    assert about["recipe"]["lr"] == 0.1 and about["recipe"]["crop_scale"] == (0.7, 1.0)
    for row, fold in zip(about["folds"], folds):
        tested = fold.held_out
        assert row["held_out"] == pytest.approx(accuracies(fold.logits[tested], fold.labels[tested], fold.split))
        sizes = {0: 10, 2: 10, 3: 10, 5: 10, 7: 1}
        assert row["trained_images"] == sum(size for c, size in sizes.items() if c not in row["left_out"])


def test_the_same_folds_again_after_an_interruption_or_from_the_store(user, tmp_path, monkeypatch):
    def logits(root):
        monkeypatch.setenv("FTC_ROOT", str(tmp_path / root))
        return torch.stack([fold.logits for fold in folds_of(user)])

    whole = logits("a")
    assert torch.equal(logits("b"), whole)
    commits, commit = [], loop.commit

    def interrupted(*arguments):
        commit(*arguments)
        commits.append(arguments)
        if len(commits) == 7:  # in the second fold, before its last epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            logits("c")
    assert len(list((tmp_path / "c").rglob("checkpoint.safetensors"))) == 1
    assert torch.equal(logits("c"), whole)
    assert not list((tmp_path / "c").rglob("checkpoint.safetensors")), "only logits are kept"
    monkeypatch.setattr(module, "fine_tuned", None)
    assert torch.equal(logits("c"), whole), "finished folds are read"
    with pytest.raises(TypeError):
        folds_of(user, FoldRecipe(epochs=3, lr=0.1, batch_size=16, flip=False))


def test_what_folds_cannot_do_is_one_sentence(user, project):
    before, after, images, labels = user
    loader = [(images, labels)]
    for arguments, sentence in (
        ({"pretrained": None}, "folds fine-tune the pre-trained model; give the pre-trained model too"),
        ({"method": "alg"}, "alg has no use for folds; leave them out, or choose one of the methods pcv_thirds, tra"),
        ({"folds": None, "method": "transported_cv"}, r"transported_cv trains folds; allow them with --folds"),
        ({"train_loader": [(images[labels < 3], labels[labels < 3])]}, "the seen class 3 has no image in the fine-tun"),
        ({"train_loader": [(images[labels < 3], labels[labels < 3])], "seen": [0, 2]}, "there are 2 seen classes, and"),
        ({"folds": FoldRecipe(2, 1e30)}, "the loss became nan in run calibrate-fold-s0-.*lower the learning rate"),
    ):
        given = {"train_loader": loader, "seen": SPLIT.seen, "method": "auto", "pretrained": before, "folds": RECIPE}
        with pytest.raises(UserError, match=sentence):
            calibrate(after, **given | arguments)
    with pytest.raises(UserError, match=r"random crops take float images \(N, C, H, W\) and the loader gives .*4\)"):
        RECIPE.augmented(torch.rand(3, 4), torch.Generator())
    for numbers, sentence in (
        ({"epochs": 0}, "epochs of the recipe is 0; give a positive number"),
        ({"batch_size": 0}, "batch_size of the recipe is 0"),
        ({"lr": 0.0}, "lr of the recipe is 0.0; give a positive learning rate"),
        ({"momentum": 1.0}, r"momentum of the recipe is 1.0; give a number in \[0, 1\)"),
        ({"crop_scale": (0.9, 0.7)}, r"crop_scale of the recipe is \(0.9, 0.7\); give two shares"),
        ({"optimizer": "sdg"}, r"unknown optimizer 'sdg' \(did you mean 'sgd'"),
    ):
        with pytest.raises(UserError, match=sentence):
            FoldRecipe(**{"epochs": 1, "lr": 0.1} | numbers)


def test_the_recipe_switches_crops_and_flips_off(random):
    x = torch.rand(4, 3, 6, 8, generator=random)
    assert FoldRecipe(1, 0.1, crop_scale=None, flip=False).augmented(x, random) is x
    flipped = FoldRecipe(1, 0.1, crop_scale=None).augmented(x.repeat(8, 1, 1, 1), random)
    kinds = {
        tuple(torch.isclose(row, other, atol=1e-5).all().item() for other in (x[i % 4], x[i % 4].flip(-1)))
        for i, row in enumerate(flipped)
    }
    assert kinds == {(True, False), (False, True)}, "each image is itself or its mirror image"
    cropped = FoldRecipe(1, 0.1, flip=False).augmented(x, random)
    assert cropped.shape == x.shape and not torch.allclose(cropped, x, atol=1e-2)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images of the seen classes (train/, held/) and of all (test/, pool/), and checkpoints of a small timm model."""
    folder = tmp_path_factory.mktemp("user")
    random = torch.Generator().manual_seed(5)
    sizes = (("train", SPLIT.seen, 6), ("test", range(8), 2), ("pool", range(8), 3), ("held", SPLIT.seen, 3))
    for name, classes, n in sizes:
        images, labels = coloured(classes, n, random, 32)
        for i, (image, label) in enumerate(zip(images, labels.tolist())):
            place = folder / name / f"class{label}"
            place.mkdir(parents=True, exist_ok=True)
            pixels = (255 * darker(image)).byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(place / f"{i:03d}.png")
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        model = timm.create_model("test_resnet", num_classes=8)
        images, labels = coloured(range(8), 6, random, 32)
        plain_loop(model, 2 * images - 1, labels, 12, 0.05)
        torch.save(model.state_dict(), folder / "pretrained.pth")
        images, labels = coloured(SPLIT.seen, 6, random, 32)
        plain_loop(model, 2 * darker(images) - 1, labels, 8, 0.05)
        torch.save(model.state_dict(), folder / "finetuned.pth")
    return folder


def command(folder, output, *more):
    text = f"calibrate --model test_resnet --checkpoint {folder}/finetuned.pth --pretrained {folder}/pretrained.pth"
    text += f" --seen 0,2,3,5,7 --data {folder}/train --image-size 32 --crop-pct 1 --device cpu --output {output}"
    names = folder / "names.txt"
    names.write_text("".join(f"class{c}\n" for c in range(8)))
    look = " --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5"
    return [*f"{text}{look} --classes {names}".split(), *map(str, more)]


TRAINING = ["--folds", "--epochs", "2", "--lr", "0.02", "--batch-size", "8"]


def test_the_command_trains_folds_on_the_fine_tuning_images_only(files, project, capsys):
    output = project / "out" / "calibrated.safetensors"
    assert cli.main(command(files, output, *TRAINING, "--dry-run")) == 0
    assert "3 folds of 2 epochs at sgd 0.02; gamma by transported_cv" in capsys.readouterr().out
    assert not output.parent.exists() and not paths.runs().exists()
    reports = []
    others = ["--unlabelled", files / "pool", "--held-out", files / "held", "--test", files / "test"]
    for more in ([], others):
        assert cli.main(command(files, output, *TRAINING, *more)) == 0, capsys.readouterr().err
        reports.append(json.loads(output.with_suffix(".json").read_text()))
        assert reports[-1]["folds"] == reports[0]["folds"]
    kept = sorted(path.name for path in paths.runs().glob("calibrate-*"))
    assert len(kept) == 3, "neither test nor unlabelled images make other folds"
    assert [report["method"] for report in reports] == ["transported_cv"] * 2
    assert [report["absent_share"]["source"] for report in reports] == ["classes", "estimated"]
    assert [row["held_out_images"] for row in reports[0]["folds"]["folds"]] == [5, 5, 5]
    page = output.with_suffix(".html").read_text()
    assert "2 epochs, sgd at learning rate 0.02" in page and page.count(" images</td>") == 3
    left_out = ", ".join(f"class{c}" for c in reports[0]["folds"]["folds"][0]["left_out"])
    assert f'<th scope="row">{left_out}</th>' in page


def test_the_command_and_python_make_the_same_folds(files, project, capsys):
    output = project / "calibrated.safetensors"
    assert cli.main(command(files, output, *TRAINING, "--optimizer", "adamw", "--no-augmentation")) == 0
    report = json.loads(output.with_suffix(".json").read_text())
    models = [timm.create_model("test_resnet", num_classes=8) for _ in range(2)]
    for model, name in zip(models, ("finetuned", "pretrained")):
        model.load_state_dict(torch.load(files / f"{name}.pth", weights_only=True))
    shown = sorted((files / "train").rglob("*.png"))
    labels = torch.tensor([int(file.parent.name[-1]) for file in shown])
    pixels = torch.stack([torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8) for file in shown])
    images = (pixels.view(-1, 32, 32, 3).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    recipe = FoldRecipe(2, 0.02, "adamw", batch_size=8, crop_scale=None, flip=False)
    found = calibrate(models[0], [(images, labels)], SPLIT.seen, "auto", models[1], folds=recipe)
    assert found.gamma == pytest.approx(report["gamma"], abs=1e-3)
    for row, other in zip(found.report["folds"]["folds"], report["folds"]["folds"]):
        assert row["left_out"] == other["left_out"] and row["held_out"] == pytest.approx(other["held_out"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--folds --lr 1", "--epochs is missing; --folds repeats your fine-tuning and takes its --epochs and --lr"),
        ("--folds --epochs 1", "--lr is missing; --folds repeats"),
        ("--lr 1", "--lr says how folds are trained; add --folds, or leave it out"),
        ("--no-augmentation", "--no-augmentation says how folds are trained"),
        ("--folds --epochs 1 --lr -1", "lr of the recipe is -1.0; give a positive"),
        ("--folds --epochs 1 --lr 1 --optimizer sdg", "unknown optimizer 'sdg'"),
        ("--folds --epochs 1 --lr 1 --method max_gap", "max_gap has no use for folds"),
        ("--method transported_cv", "transported_cv trains folds; allow them with --folds"),
        ("--folds --epochs 1 --lr 1 --data x.npz", "--folds fine-tunes a model on images; give images, or leave out"),
        ("--folds --epochs 1 --lr 1 --seen 0,2 --data LIST", "there are 2 seen classes, and folds leave out a third"),
    ],
)
def test_a_mistake_is_one_sentence_and_trains_nothing(files, project, capsys, options, sentence):
    (files / "list.txt").write_text("train/class0/000.png 0\ntrain/class2/006.png 2\n")
    options = options.replace("LIST", str(files / "list.txt"))
    assert cli.main(command(files, project / "out.safetensors", *options.split())) == 2
    assert re.fullmatch(rf"error: {re.escape(sentence)}[^\n]*\n", capsys.readouterr().err)
    assert not paths.runs().exists() and not (project / "out.json").exists()


def test_folds_without_a_pretrained_checkpoint_are_refused(files, project, capsys):
    arguments = command(files, project / "out.safetensors", *TRAINING)
    at = arguments.index("--pretrained")
    assert cli.main(arguments[:at] + arguments[at + 2 :]) == 2
    assert "error: folds fine-tune the pre-trained model; give the pre-trained model too" in capsys.readouterr().err
