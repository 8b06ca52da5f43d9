"""Runs that cannot be: notebook parameters, sweep files, trees of other data, and the environment."""

import json
from pathlib import Path

from tests.hostile.row import Row, both, change, cut, folder_at, nothing, raw, remove, text
from tests.hostile.workshop import ARCH

NOTEBOOK = "notebook notebooks/01_fine_tuning.ipynb"
RUN = "run digits --profile smoke --seeds 0 --device cpu"
SWEPT = "sweep sweep.json --list"
VTAB = f"vtab1k tasks --model {ARCH} --weights model.pth --tasks cifar --methods linear_probe --list"
TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


def grid(*grids):
    """The sweep with other grids."""
    return change("sweep.json", runs={"default": list(grids)})


def noted(title, settings, *words):
    """A row for parameters of a notebook."""
    return Row(f"a notebook with {title}", nothing, f"{NOTEBOOK} {settings}", words)


def swept(title, spoil, *words):
    return Row(f"a sweep {title}", spoil, SWEPT, words)


def under(title, command, words, **environment):
    """A row for variables of the environment."""
    return Row(title, nothing, command, words, environment)


def tasks(**lists):
    """A task of VTAB-1k whose lists have these lines."""

    def spoil():
        for name, lines in lists.items():
            text(f"tasks/cifar/{name}.txt", "".join(f"{line}\n" for line in lines))()

    return spoil


def billions():
    return {"lr": [float(k) for k in range(1, 3001)], "epochs": list(range(1, 3001)), "seen_number": list(range(3000))}


EIGHT = [f"images/{n}.png 0" for n in range(800)]
BOOK = "notebooks/01_fine_tuning.ipynb"
ROWS = [
    noted("an unknown parameter", "sead=1", "'sead'", "seeds"),
    noted("a parameter without a value", "seeds", "seeds", "integers"),
    noted("seeds as text", "seeds=one", "seeds is 'one'", "integers"),
    noted("no seeds", "seeds=", "seeds", "integers"),
    noted("seeds with a gap", "seeds=0,,1", "seeds", "integers"),
    noted("an unknown benchmark", "benchmark=digts", "'digts'", "digits"),
    noted("a benchmark that climbs", "benchmark=../../outside", "'../../outside'"),
    noted("an absolute benchmark", "benchmark=/tmp", "'/tmp'"),
    noted("a seed twice", "benchmark=digits seeds=1,1", "seeds", "each once"),
    noted("an unknown profile", "benchmark=digits profile=x", "'x'", "profile"),
    noted("a parameter twice", "benchmark=digits benchmark=emoji", "benchmark", "twice"),
    Row("a notebook that is not there", remove(BOOK), NOTEBOOK, (BOOK, "notebooks/")),
    Row("a notebook that is a folder", both(remove(BOOK), folder_at(BOOK)), NOTEBOOK, (BOOK,)),
    Row("a notebook that is cut off", cut(BOOK), NOTEBOOK, (BOOK, "JSON")),
    Row("a notebook that is empty", raw(BOOK, b""), NOTEBOOK, (BOOK, "JSON")),
    Row("a notebook that is a list", text(BOOK, "[]"), NOTEBOOK, (BOOK,)),
    Row("a notebook that is an empty object", text(BOOK, "{}"), NOTEBOOK, (BOOK,)),
    Row("a notebook nested deeply", text(BOOK, "[" * 99_999), NOTEBOOK, (BOOK,)),
    Row("a notebook of no UTF-8", raw(BOOK, b'{"\xff": 1}'), NOTEBOOK, (BOOK,)),
    Row("a notebook that is a picture", nothing, "notebook seen/ash/0.png", ("0.png",)),
    Row(
        "a notebook of parameters that compute",
        lambda: parameters("benchmark = input()"),
        NOTEBOOK,
        (BOOK, "parameters"),
    ),
    Row("a notebook of parameters of no Python", lambda: parameters("benchmark = = 1"), NOTEBOOK, (BOOK, "parameters")),
    swept("that is not there", remove("sweep.json"), "sweep.json", "studies/"),
    swept("that is a folder", both(remove("sweep.json"), folder_at("sweep.json")), "sweep.json"),
    swept("that is empty", raw("sweep.json", b""), "sweep.json", "JSON"),
    swept("that is no JSON", raw("sweep.json", b"{'title': 1}"), "sweep.json", "JSON"),
    swept("that is a list", raw("sweep.json", b"[]"), "sweep.json"),
    swept("nested deeply", raw("sweep.json", b"[" * 99_999), "sweep.json"),
    swept("of no UTF-8", raw("sweep.json", b"\xff{}"), "sweep.json"),
    swept("with an unknown key", change("sweep.json", colour=1), "sweep.json", "'colour'"),
    swept("without its runs", text("sweep.json", json.dumps({"title": "x"})), "sweep.json", "required"),
    swept("with an unknown field", grid({"rate": 1}), "sweep.json", "'rate'"),
    swept("with a text as rate", grid({"lr": "fast"}), "lr", "float"),
    swept("with a truth value as epochs", grid({"epochs": True}), "epochs", "int"),
    swept("with NaN as rate", grid({"lr": float("nan")}), "lr"),
    swept("with an infinite rate", grid({"lr": float("inf")}), "lr"),
    swept("with a negative rate", grid({"lr": -1.0}), "lr"),
    swept("with no epochs", grid({"epochs": 0}), "epochs"),
    swept("with an unknown optimizer", grid({"optimizer": "sdg"}), "'sdg'"),
    swept("with an unknown method", grid({"method": "ldif"}), "'ldif'"),
    swept("with a seed as a field", grid({"seed": 1}), "'seed'"),
    swept("with a nested list", grid({"lr": [[0.1]]}), "sweep.json"),
    swept("with an empty grid", grid({"lr": []}), "lr", "'Rates'", "give one or more"),
    swept("of billions of cells", grid(billions()), "'Rates'", "combinations"),
    swept("without seeds", change("sweep.json", seeds=[]), "seeds"),
    swept("with a seed twice", change("sweep.json", seeds=[1, 1]), "seeds", "each once"),
    swept("with texts as seeds", change("sweep.json", seeds=["a"]), "sweep.json", "seeds"),
    swept("of an unknown benchmark", change("sweep.json", benchmark="digts"), "'digts'"),
    swept("for other benchmarks", change("sweep.json", only=["emoji"]), "emoji"),
    Row("a sweep with seeds as text", nothing, SWEPT + " --seeds x", ("seeds", "integers")),
    Row("a sweep of an unknown profile", nothing, SWEPT + " --profile full", ("'full'", "default")),
    Row("a sweep on an unknown engine", nothing, SWEPT + " --engine spark", ("'spark'", "ray")),
    Row("a sweep of no workers", nothing, SWEPT + " --workers 0", ("workers", "1 or more")),
    Row("a sweep of no threads", nothing, SWEPT + " --threads 0", ("threads", "1 or more")),
    Row("a sweep on NaN of a GPU", nothing, SWEPT + " --engine ray --gpus-per-run nan", ("nan",)),
    Row("vtab1k without a folder", nothing, VTAB, ("tasks", "cifar")),
    Row("vtab1k without lists", folder_at("tasks/cifar"), VTAB, ("train800.txt",)),
    Row("vtab1k with a short list", tasks(train800=EIGHT[:3]), VTAB, ("cifar", "3 images", "800")),
    Row("vtab1k with an empty list", tasks(train800=[]), VTAB, ("train800.txt", "empty")),
    Row("vtab1k with a label as text", tasks(train800=["images/0.png cat"]), VTAB, ("line 1", "label")),
    Row("vtab1k with a superscript as label", tasks(train800=["images/0.png ²"]), VTAB, ("line 1", "label")),
    Row("vtab1k with a climbing path", tasks(train800=["../../x.png 0"]), VTAB, ("line 1",)),
    Row(
        "vtab1k with files that are not there",
        tasks(train800=EIGHT, val200=[f"v/{n} 1" for n in range(200)], test=["t 2"]),
        VTAB,
        ("1001 listed images", "restore"),
    ),
    Row(
        "vtab1k with a label too large",
        tasks(train800=EIGHT, val200=[f"v/{n} 100" for n in range(200)], test=["t 2"]),
        VTAB,
        ("label 100", "restore"),
    ),
    Row(
        "vtab1k with an image twice",
        tasks(train800=["a 0"] * 800, val200=["b 0"] * 200, test=["t 2"]),
        VTAB,
        ("listed twice",),
    ),
    Row("vtab1k with an unknown task", nothing, VTAB + " --tasks cifa", ("'cifa'", "cifar")),
    Row("vtab1k with an unknown method", nothing, VTAB + " --methods x", ("'x'",)),
    Row(
        "Office-Home on another tree", nothing, "manifest paper office-home pictures --task Ar-Cl", ("pictures", "Art")
    ),
    Row("Office-Home without a folder", nothing, "manifest paper office-home no --task Ar-Cl", ("no", "Art")),
    Row("Office-Home on a file", nothing, "manifest paper office-home names.txt --task Ar-Cl", ("names.txt",)),
    Row("ImageNet-R on another tree", nothing, "manifest paper imagenet-r pictures", ("pictures",)),
    Row("ImageNet-S on another tree", nothing, "manifest paper imagenet-s pictures", ("pictures",)),
    Row("VTAB on another tree", nothing, "manifest paper vtab pictures --task ash", ("ash", "train/")),
    Row("VTAB with an unknown task", nothing, "manifest paper vtab pictures --task oak", ("'oak'",)),
    Row("iWildCam on another tree", nothing, "manifest paper iwildcam pictures --task 7", ("metadata.csv",)),
    Row(
        "iWildCam with a damaged table",
        raw("cam/metadata.csv", b"a\n"),
        "manifest paper iwildcam cam --task 7",
        ("metadata.csv",),
    ),
    Row("a paper that is none", nothing, "manifest paper office-hom pictures", ("office-home",)),
    Row("a verb that is none", nothing, "calibrat", ("'calibrat'", "calibrate")),
    Row("no verb", nothing, "", ("verb",)),
    Row("an option that is none", nothing, RUN + " --sead 1", ("--sead",)),
    Row("an option without its value", nothing, "run digits --seeds", ("--seeds",)),
    Row("seeds as text", nothing, RUN + " --seeds one", ("seeds", "integers")),
    Row("seeds of nothing", nothing, RUN + " --seeds ''", ("seeds", "integers")),
    Row("a seed twice", nothing, RUN + " --seeds 1,1", ("seeds", "each once")),
    Row("a seed of 5,000 digits", nothing, RUN + " --seeds " + "9" * 5000, ("seeds",)),
    Row("an unknown study", nothing, RUN + " --studies accurac", ("'accurac'", "accuracy")),
    Row("no processes", nothing, RUN + " --processes 0", ("--processes", "1 or more")),
    Row("a report of nothing yet", nothing, "report digits", ("summary_mean.csv", "make reproduce")),
    Row("a report of a benchmark that climbs", nothing, "report ../../outside", ("'../../outside'",)),
    Row(
        "a report that is damaged",
        raw("results/digits/summary_mean.csv", b"x\n"),
        "report digits",
        ("summary_mean.csv",),
    ),
    Row("a report that is empty", raw("results/digits/summary_mean.csv", b""), "report digits", ("summary_mean.csv",)),
    Row("a budget that is no size", nothing, RUN + " --memory-budget lots", ("'lots'", "8G")),
    Row("a negative budget", nothing, RUN + " --memory-budget=-1", ("'-1'", "8G")),
    Row("a budget of a unit alone", nothing, RUN + " --memory-budget G", ("'G'", "8G")),
    Row("a budget of superscripts", nothing, RUN + " --memory-budget ²G", ("²", "8G")),
    under("a budget of no size in the environment", "data mine", ("'8 GB'", "8G"), FTC_MEMORY_BUDGET="8 GB"),
    under("a budget of a negative size in the environment", "data mine", ("-5",), FTC_MEMORY_BUDGET="-5"),
    under("a project folder that is a file", "data digits", ("FTC_ROOT", "names.txt"), FTC_ROOT="names.txt"),
    under("a rank that is no number", RUN, ("LOCAL_RANK", "torchrun"), **TORCHRUN | {"LOCAL_RANK": "x"}),
    under("a world that is no number", RUN, ("WORLD_SIZE", "torchrun"), **TORCHRUN | {"WORLD_SIZE": "x"}),
    under("a world without a port", RUN, ("MASTER_PORT", "torchrun"), **TORCHRUN),
    under(
        "a rank outside the world",
        RUN,
        ("RANK", "torchrun"),
        **TORCHRUN | {"RANK": "5", "MASTER_ADDR": "localhost", "MASTER_PORT": "29999"},
    ),
    under(
        "a port that is no number",
        RUN,
        ("MASTER_PORT", "torchrun"),
        **TORCHRUN | {"MASTER_ADDR": "localhost", "MASTER_PORT": "x"},
    ),
]


def parameters(source):
    """Other source for the cell of parameters."""
    content = json.loads(Path(BOOK).read_text())
    for cell in content["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] = source
    Path(BOOK).write_text(json.dumps(content))
