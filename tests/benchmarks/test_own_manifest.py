"""Manifests of someone's own data: what is taken, and what happens to odd folders, lists, tables and files."""

import os
import re
import shutil

import pandas as pd
import pytest
import torch
from PIL import Image

from analysis_lib import UserError
from analysis_lib.benchmarks.folder import decode_folder
from analysis_lib.benchmarks.manifest import SOURCE, load_manifest, save_manifest
from analysis_lib.benchmarks.overview import class_counts, gallery
from analysis_lib.benchmarks.own_manifest import OwnData, create_manifest
from analysis_lib.benchmarks.user_images import open_source
from analysis_lib.core import paths
from analysis_lib.runs.plan import plan
from tests.benchmarks.own_images import COLOURS, class_folders, encoded, main, picture, save

NAMES = list(COLOURS)


@pytest.fixture
def pictures(project):
    """Four classes of five images in a folder beside the project's manifests."""
    return class_folders(project / "my pictures")


def create(data, **more):
    return create_manifest(OwnData("mine", data, **more))


def sides(manifest):
    """The paths of each split."""
    return {split: set(rows["path"]) for split, rows in manifest.body.groupby("split")}


# what is taken
def test_a_folder_gets_a_drawn_split_and_stays_as_it_is(pictures, capsys):
    before = {file: file.stat().st_mtime_ns for file in pictures.rglob("*")}
    assert main("manifest", "create", pictures, "--name", "mine", "--test-share", "0.4") == 0
    assert "data_manifests/mine.json: 4 classes; images: 8 test, 12 train" in capsys.readouterr().out
    manifest = load_manifest("mine")
    assert manifest.class_names == NAMES and manifest.head.source == "my pictures" and manifest.head.seen == 0.5
    assert (class_counts(manifest).loc[NAMES] == [3, 2]).all(axis=None)
    assert before == {file: file.stat().st_mtime_ns for file in pictures.rglob("*")}
    images = decode_folder(manifest)
    assert images.shape == (20, 3, 224, 224)
    for label, colour in enumerate(COLOURS.values()):
        means = images[manifest.labels == label].float().mean((0, 2, 3))
        assert torch.allclose(means, torch.tensor(colour).float(), atol=6), "labels follow the folders"


def test_the_split_belongs_to_the_name_alone(pictures):
    one = sides(create(pictures))
    again = sides(create_manifest(OwnData("other", pictures)))
    for path in (paths.manifest_head("mine"), paths.manifest_body("mine")):
        path.unlink()
    torch.rand(3)
    assert sides(create(pictures)) == one != again


@pytest.mark.parametrize("layout", ["train test", "train val", "train test val", "--test"])
def test_folders_of_subsets(project, layout, capsys):
    for first, part in enumerate(("train", "test", "val")):
        if part in layout:
            class_folders(project / "data" / part, images=2, first=1000 * first)
    pair = {"data": project / "data"}
    if layout == "--test":
        class_folders(project / "data" / "new", images=2, first=5000)
        pair = {"data": project / "data" / "test", "test": project / "data" / "new"}
    manifest = create(**pair)
    found = {split: {path.split("/")[0] for path in found} for split, found in sides(manifest).items()}
    expected = {
        "train test": {"train": {"train"}, "test": {"test"}},
        "train val": {"train": {"train"}, "test": {"val"}},
        "train test val": {"train": {"train", "val"}, "test": {"test"}},
        "--test": {"train": {"test"}, "test": {"new"}},
    }
    assert found == expected[layout]
    assert ("images of the split 'val' are" in capsys.readouterr().err) == ("val" in layout)


def test_lists_of_ids_and_names(pictures, project):
    rows = [f"{file.relative_to(pictures)} {NAMES.index(file.parent.name)}" for file in sorted(pictures.rglob("*.png"))]
    (pictures / "train.txt").write_text("\n".join(row for row in rows if "4.png" not in row))
    (pictures / "test.txt").write_text("\n".join(row for row in rows if "4.png" in row))
    (project / "names.txt").write_text("\n".join(NAMES))
    manifest = create(pictures / "train.txt", test=pictures / "test.txt", classes=project / "names.txt", seen="elm,0")
    assert manifest.class_names == NAMES and manifest.head.seen == ["ash", "elm"]
    assert sides(manifest)["test"] == {f"{name}/4.png" for name in NAMES}
    assert create_manifest(OwnData("ids", pictures / "train.txt")).class_names == ["0", "1", "2", "3"]
    shutil.move(pictures / "train.txt", project / "train.txt")
    moved = create_manifest(OwnData("moved", project / "train.txt", root=pictures))
    assert moved.head.source == "my pictures" and len(moved.body) == 16


def test_a_table_with_columns_of_its_own(pictures, capsys):
    table = pd.DataFrame(
        [
            (f"{name}/{i}.png", name, "val" if i == 4 else "train", f"bear {i // 2}", f"202{i}", "NA")
            for name in NAMES
            for i in range(5)
        ],
        columns=["file", "class", "split", "animal", "date", "where"],
    )
    table.to_csv(pictures / "table.csv", index=False)
    columns = ["--column", "path=file", "--column", "group=animal", "--column", "place=where"]
    assert main("manifest", "create", pictures / "table.csv", "--name", "mine", *columns, "--model", "resnet18") == 0
    body = load_manifest("mine").body
    assert body["date"].tolist()[:5] == ["2020", "2021", "2022", "2023", "2024"]
    assert (body["place"] == "NA").all() and set(body["group"]) == {"bear 0", "bear 1", "bear 2"}
    assert sides(load_manifest("mine"))["test"] == {f"{name}/4.png" for name in NAMES}
    assert load_manifest("mine").head.model == "resnet18"


def test_groups_by_a_pattern_are_never_divided(pictures):
    for number, name in enumerate(NAMES):
        for i in range(6):
            save(pictures / name / f"day {i % 3}" / f"{i}.png", picture(500 + 10 * number + i))
    manifest = create(pictures, group=r"^\w+/day .|^\w+/\d")
    assert manifest.body["group"].nunique() == 4 * (5 + 3)
    assert manifest.body.groupby("group")["split"].nunique().max() == 1
    assert (class_counts(manifest).loc[NAMES] > 0).all(axis=None)
    with pytest.raises(UserError, match="there is no test row"):
        create_manifest(OwnData("whole", pictures, group=r"^\w+"))


def test_source_images_are_rows_of_their_own(pictures, project):
    class_folders(project / "drawings", images=2, first=9000)
    manifest = create(pictures, source=project / "drawings", model="resnet18")
    assert manifest.head.weights == SOURCE and manifest.head.source == "."
    assert sides(manifest)[SOURCE] == {f"drawings/{name}/{i}.png" for name in NAMES for i in range(2)}
    assert plan("mine", "smoke", [0])[0].init != SOURCE


def test_no_network_yet_ends_in_the_command_that_names_one(pictures, project):
    create(pictures)
    with pytest.raises(UserError, match="'mine' names no network yet.*manifest network mine --model ARCH --weights"):
        plan("mine", "smoke", [0])
    class_folders(project / "drawings", images=1, first=9000)
    create_manifest(OwnData("drawn", pictures, source=project / "drawings"))
    with pytest.raises(UserError, match="'drawn' names no network yet"):
        plan("drawn", "smoke", [0])


def test_unicode_and_spaces_in_names_and_links_inside(project, capsys):
    root = project / 'Bäume, "neu"'
    for seed, name in enumerate(("Esche 'x'", "Bir ke", "NA", "日本 $a$ $b$")):
        for i in range(2):
            save(root / name / f"пик  {i}, ‍.png", picture(10 * seed + i))
    (root / "NA" / "link.png").symlink_to(root / "Bir ke" / "пик  0, ‍.png")
    manifest = create(root, seen="NA,Bir ke")
    assert manifest.class_names == sorted(["Esche 'x'", "Bir ke", "NA", "日本 $a$ $b$"])
    assert manifest.head.seen == ["Bir ke", "NA"] and len(manifest.body) == 9
    assert main("manifest", "verify", "mine") == 0
    assert "9 images as listed, none in two subsets; 1 pictures under two classes" in capsys.readouterr().out
    text = "".join(f"{path} {label}\n" for path, label in zip(manifest.body["path"], manifest.body["label"]))
    (root / "list.txt").write_text(text)
    assert sorted(create_manifest(OwnData("list", root / "list.txt")).body["path"]) == sorted(manifest.body["path"])


# odd files and folders that are taken, and said
def test_what_is_left_out_is_counted_and_named(pictures, capsys):
    for name in ("notes.txt", "ash/.hidden.png", "ash/film.mov", "ash/README"):
        (pictures / name).write_text("x")
    (pictures / ".cache").mkdir()
    (pictures / "ash" / "linked").symlink_to(pictures / "elm")
    manifest = create(pictures)
    printed = capsys.readouterr().err
    assert "my pictures: 6 files are no images by their names, or are hidden" in printed
    assert "first .cache, notes.txt, ash/.hidden.png" in printed and len(manifest.body) == 20


def test_copies_stay_together_and_two_classes_are_named(pictures, capsys):
    for name in ("5.png", "sub/0.png", "sub/deeper/0.png"):
        (pictures / "ash" / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(pictures / "ash" / "0.png", pictures / "ash" / name)
    shutil.copy(pictures / "elm" / "0.png", pictures / "birch" / "twin.png")
    manifest = create(pictures, test_share=0.5)
    assert manifest.body.groupby("sha256")["split"].nunique().max() == 1
    assert manifest.body.groupby("sha256")["group"].nunique().max() == 1
    printed = capsys.readouterr().err
    assert "4 images are copies of others" in printed
    assert "1 pictures lie under two classes, first birch/twin.png (birch) and elm/0.png (elm)" in printed


def test_a_class_with_one_image_is_trained_on_and_named(pictures, capsys):
    for i in range(1, 5):
        (pictures / "elm" / f"{i}.png").unlink()
    manifest = create(pictures)
    assert "elm/0.png" in sides(manifest)["train"]
    assert "no test image of 1 of 4 classes, first elm" in capsys.readouterr().err


def test_a_class_without_training_images_is_named_and_shown(project, capsys):
    class_folders(project / "data" / "train", classes=["ash", "birch"])
    class_folders(project / "data" / "test", first=1000)
    manifest = create(project / "data")
    assert "no train image of 2 of 4 classes, first cedar, elm" in capsys.readouterr().err
    assert len(gallery(manifest, 0)[0]) == 2
    assert main("manifest", "show", "mine") == 0


def test_odd_pictures_are_taken(pictures):
    exif = Image.Exif()
    exif[0x0112] = 6
    (pictures / "ash" / "wrong.jpg").write_bytes(encoded(picture(1000)))
    (pictures / "ash" / "cmyk.jpg").write_bytes(encoded(picture(1001).convert("CMYK"), "JPEG"))
    (pictures / "ash" / "turned.png").write_bytes(encoded(picture(1002), exif=exif))
    (pictures / "ash" / "palette.gif").write_bytes(encoded(picture(1003), "GIF"))
    assert len(decode_folder(create(pictures, image_size=8))) == 24


# refused, in one sentence, with nothing written
def spoil(pictures, how):
    """Do one odd thing to the folder of pictures; the options that go with it."""
    file, project = pictures / "ash" / "9.png", pictures.parent
    if how == "empty":
        file.write_bytes(b"")
    elif how == "damaged":
        file.write_bytes(b"no picture")
        (pictures / "birch" / "8.png").write_bytes(encoded(picture(1))[:-60])
    elif how == "leaving":
        save(project / "outside.png", picture(99))
        file.symlink_to(project / "outside.png")
    elif how == "leaving folder":
        shutil.move(pictures / "elm", project / "elm")
        (pictures / "elm").symlink_to(project / "elm")
    elif how == "dangling":
        file.symlink_to("none.png")
    elif how == "loop":
        file.symlink_to(file)
    elif how == "empty class":
        (pictures / "fir").mkdir()
    elif how == "case":
        save(pictures / "Ash" / "0.png", picture(50))
    elif how == "control":
        save(pictures / "ash" / "new\nline.png", picture(50))
    elif how == "not utf-8":
        shutil.copy(pictures / "ash" / "0.png", os.fsencode(pictures / "ash") + b"/\xff.png")
    elif how == "one class":
        for name in NAMES[1:]:
            shutil.rmtree(pictures / name)
    elif how == "numbers":
        for i, name in enumerate(NAMES):
            shutil.move(pictures / name, pictures / str(8 + i))
    elif how == "subsets and more":
        for old, new in (("ash", "train"), ("elm", "test")):
            shutil.move(pictures / old, pictures / new)
    elif how == "short names":
        (project / "names.txt").write_text("ash\nbirch\ncedar\nelk\n")
    elif how == "long names":
        (project / "names.txt").write_text("\n".join([*NAMES, "fir"]))
    elif how == "taken":
        paths.manifest_body("known").write_text("x")
    elif how == "twice":
        (project / "names.txt").write_text("\n".join([*NAMES, "ash"]))


REFUSED = {  # what is odd, further options, and the sentence
    "empty": ("", r"1 of 21 images cannot be read, first my pictures/ash/9.png \(the file is empty\); restore or"),
    "damaged": ("", r"2 of 22 images .* \(damaged or no image\), my pictures/birch/8.png \(image file is truncated"),
    "leaving": ("", "1 of 21 files are links that lead out of my pictures, first my pictures/ash/9.png; copy"),
    "leaving folder": ("", "5 of 20 files are links that lead out of my pictures, first my pictures/elm/0.png"),
    "dangling": ("", r"1 of 21 images cannot be read, first my pictures/ash/9.png \(No such file"),
    "loop": ("", r"1 of 21 images cannot be read, first my pictures/ash/9.png \(Too many levels"),
    "empty class": ("", "my pictures has no image of 1 of 5 classes, first fir; add images, or leave"),
    "case": ("", "my pictures has the classes 'Ash' and 'ash', which differ in case"),
    "control": ("", r"1 of 21 files, first 'ash/new\\nline.png', have names with control characters"),
    "not utf-8": ("", r"1 of 21 files, first 'ash/\\udcff.png', have names with control characters or of no UTF-8"),
    "one class": ("", "my pictures has 1 class; a benchmark needs at least one seen and one absent"),
    "numbers": ("", "the class folders of my pictures are numbers that sort differently as text"),
    "subsets and more": ("", "my pictures has train/ and other subsets beside birch/; move what is no subset"),
    "short names": ("--classes P/names.txt", r"unknown class in my pictures 'elm' \(did you mean 'elk'\?\)"),
    "long names": ("--classes P/names.txt", "my pictures has no image of 1 of 5 classes, first fir"),
    "twice": ("--classes P/names.txt", "names.txt has the class 'ash' twice; write each once"),
    "seen": ("--seen oak,ash", r"unknown class in --seen 'oak'.*available: ash, birch"),
    "near": ("--seen elms", r"unknown class in --seen 'elms' \(did you mean 'elm'\?\)"),
    "seen twice": ("--seen ash,0", "a seen class is given twice"),
    "all seen": ("--seen ash,birch,cedar,elm", "the absent set is empty"),
    "share": ("--seen 1.0", "--seen 1.0 of 4 classes leaves no seen or no absent class"),
    "small share": ("--seen 0.1", "--seen 0.1 of 4 classes leaves no seen"),
    "test share": ("--test-share 1", "--test-share is 1.0; give a share between 0 and 1"),
    "title": ("--title \udc80", "'.udc80' has control characters or is no UTF-8"),
    "model tag": ("--model resnet18.mine", r"timm has no 'resnet18.mine' .*leave out what follows the dot"),
    "model size": ("--model test_vit --image-size 100", "test_vit takes images of 160 pixels only"),
    "model": ("--model resnet-18", r"unknown timm architecture 'resnet-18' \(did you mean 'resnet18'\?\)"),
    "size": ("--image-size 0", "--image-size is 0; give a positive number"),
    "pattern": ("--group (", r"--group '\(' is no regular expression"),
    "no match": ("--group elm", "--group 'elm' matches no part of 15 of 20 paths, first ash/0.png"),
    "name": ("--name ../mine", "--name is '../mine'; give a name of letters"),
    "ours": ("--name digits", "--name digits is a benchmark of this package; choose another"),
    "taken": ("--name known", "there is data_manifests/known.csv already; choose another --name"),
    "root": ("--root P", "--root is where the paths of a list or a table start, and a folder has none"),
    "no table": ("--column label=species", r"--column names the columns of a table \(.csv\), and none is given"),
    "column": ("--column colour=x", "unknown --column 'colour'; available: date, group, label"),
    "no sign": ("--column label", "--column is 'label'; write our name = the table's"),
    "nowhere": ("--test P/none", "there is no none; give a folder with a sub-folder for each class, a list"),
    "same": ("--test P/again", "my pictures: 20 pictures lie in two subsets, first my pictures/.*.png and again/"),
    "source": ("--source P/again", "my pictures: 20 pictures lie in two subsets"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_a_benchmark_is_refused(pictures, project, how, capsys):
    options, sentence = REFUSED[how]
    if "again" in options:
        shutil.copytree(pictures, project / "again")
    spoil(pictures, how)
    options = re.sub(r"\bP\b", str(project), options).split(" ") if options else []
    before = sorted(path.name for path in (project / "data_manifests").iterdir())
    assert main("manifest", "create", pictures, "--name", "mine", *options) == 2
    captured = capsys.readouterr()
    assert re.search(sentence, captured.err), captured.err
    assert captured.out == "" and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    assert before == sorted(path.name for path in (project / "data_manifests").iterdir())


TABLES = {  # a table, options, and the sentence
    "path,label\n/etc/a.png,ash\n": "1 of 1 lines: the line leaves the list's folder, first '/etc/a.png,ash'",
    "path,label\n../a.png,ash\n": "1 of 1 lines: the line leaves the list's folder",
    "path,label\nash/x.png,ash\n": "1 of 1 lines: the line names a file that is not there, first 'ash/x.png,ash'",
    "path,label\nash/0.png,\n": "1 of 1 lines: the line has no label",
    "path,label\n,ash\n": "1 of 1 lines: the line has no path",
    "path,label,split\nash/0.png,ash,tets\n": r"unknown split in .* 'tets' \(did you mean 'test'\?\)",
    "path,label,split\nash/0.png,ash,\n": "1 of 1 lines: the line has no split",
    "path,label,date\nash/0.png,ash,2020-13\n": "has a date that is neither a year nor ISO",
    "path,label,class\nash/0.png,1,ash\n": "has columns path, label, class; name the one of the classes",
    "file,label\nash/0.png,1\n": "has columns file, label; name the one of the files with --column path=NAME",
    "path,label\n": "is empty; write one image a line below the header",
    "": "cannot read .*; give a CSV file of UTF-8 text with a header",
    "path,label\nash/0.png,ash,more,and more\n": "has lines with more cells than its header",
    "path,label\nash/0.png,ash\nash/0.png,ash,more\n": "cannot read .*Expected 2 fields in line 3, saw 3",
    "path,label\nash/0.png,ash\nash/0.png,ash\nelm/0.png,elm\n": "2 of 3 files|1 of 3 files.*are listed twice",
    "path,label\nash/0.png,7\nelm/0.png,9\n": r"has 2 ids, and they are not 0\.\.1; name the classes with --classes",
    "path,label,split\nash/0.png,a,train\nelm/0.png,e,test\nash/0.png,a,val\n": "1 of 3 files.*are listed twice",
    "path,label,split,group\nash/0.png,a,train,g\nelm/0.png,e,test,g\n": "group lies on both sides of the split",
    "path,label,split\nash/0.png,a,train\nelm/0.png,e,train\n": "there is no test row; a benchmark needs both",
}


@pytest.mark.parametrize("text", TABLES, ids=range(len(TABLES)))
def test_mistakes_in_a_table(pictures, text):
    (pictures / "table.csv").write_text(text)
    with pytest.raises(UserError, match=TABLES[text]):
        create(pictures / "table.csv")
    assert not paths.manifest_head("mine").exists()


def test_a_column_that_the_table_lacks_names_the_nearest(pictures):
    (pictures / "table.csv").write_text("path,species\nash/0.png,ash\n")
    with pytest.raises(UserError, match=r"unknown column in .*table.csv 'specie' \(did you mean 'species'\?\)"):
        create(pictures / "table.csv", columns={"label": "specie"})


def test_bytes_that_are_no_text(pictures):
    for name in ("table.csv", "list.txt"):
        (pictures / name).write_bytes(b"path,label\n\xff\xfe 0\n")
        with pytest.raises(UserError, match="cannot read my pictures/"):
            create(pictures / name)


def test_calibrate_and_finetune_refuse_the_same_links(pictures, project):
    save(project / "outside.png", picture(99))
    (pictures / "ash" / "9.png").symlink_to(project / "outside.png")
    with pytest.raises(UserError, match="1 of 21 files are links that lead out of my pictures"):
        open_source(pictures, "train")
    (pictures / "list.txt").write_text("ash/9.png ash\n")
    with pytest.raises(UserError, match="1 of 1 files are links that lead out of my pictures"):
        open_source(pictures / "list.txt", "train")


# verify and show
def test_verify_names_every_offender(pictures, project, capsys):
    create(pictures)
    assert main("manifest", "verify", "mine") == 0
    assert capsys.readouterr().out == "mine: 20 images as listed, none in two subsets\n"
    (pictures / "ash" / "0.png").write_bytes(encoded(picture(0, size=(4, 4))))
    (pictures / "elm" / "1.png").unlink()
    shutil.move(pictures / "elm" / "2.png", project / "2.png")
    (pictures / "elm" / "2.png").symlink_to(project / "2.png")
    assert main("manifest", "verify", "mine") == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "ash/0.png: its sha256 differs from the manifest",
        "elm/1.png: No such file or directory",
        "elm/2.png: a link that leads out of my pictures",
    ]
    assert captured.err == (
        "error: 3 of 20 images of 'mine' break the manifest; restore the files, or create it again\n"
    )


def test_verify_of_a_folder_that_is_gone(pictures, project, capsys):
    create(pictures)
    shutil.move(pictures, project / "elsewhere")
    assert main("manifest", "verify", "mine") == 2
    assert "there is no folder my pictures; restore it" in capsys.readouterr().err


def test_verify_finds_a_picture_in_two_subsets(pictures, capsys):
    manifest = create(pictures)
    shutil.copy(pictures / manifest.body["path"][manifest.body["split"] == "test"].iloc[0], pictures / "ash" / "x.png")
    digest = manifest.body["sha256"][manifest.body["split"] == "test"].iloc[0]
    row = {"path": "ash/x.png", "label": 0, "split": "train", "group": "x", "sha256": digest}
    save_manifest(manifest.head.model_dump(), pd.concat([manifest.body, pd.DataFrame([row])], ignore_index=True))
    assert main("manifest", "verify", "mine") == 2
    captured = capsys.readouterr()
    assert captured.out.count("its picture lies in another subset") == 2 and "ash/x.png" in captured.out


def test_show_counts_and_draws(pictures, project, capsys):
    shutil.move(pictures / "elm", pictures / "$el$ $m^$")
    create(pictures, image_size=24)
    assert main("manifest", "show", "mine") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["train", "test"] and lines[-2].split() == ["all", "16", "4"]
    assert lines[-1] == "figures/mine/contact_sheet.png"
    with Image.open(project / lines[-1]) as sheet:
        assert sheet.width > 400 and len(sheet.convert("RGB").getcolors(1 << 20)) > 50


def test_our_own_manifests_are_verified_too(project, capsys):
    assert main("manifest", "verify", "digits") == 0
    assert "digits: 1797 images as listed (they are checked when `data digits` makes them)" in capsys.readouterr().out
    assert main("manifest", "verify", "digts") == 2
    assert "unknown benchmark 'digts' (did you mean 'digits'?)" in capsys.readouterr().err
