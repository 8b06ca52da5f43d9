"""What holds for every method: it runs, resumes to the same bytes, checks its options, and can be neutral."""

from dataclasses import fields

import pytest
import torch

from analysis_lib import UserError
from analysis_lib.core import files, paths
from analysis_lib.methods import METHODS, create_method
from analysis_lib.methods.averaging import SWA, WiSE
from analysis_lib.methods.distill import Distill, DistillAbsent
from analysis_lib.methods.feature_distance import LDIFS, FeatureDistance
from analysis_lib.methods.finetune import FineTune
from analysis_lib.methods.frozen import ProbeThenFineTune
from analysis_lib.methods.l2sp import L2SP
from analysis_lib.methods.label_smoothing import LabelSmoothing
from analysis_lib.methods.lolsgd import LOLSGD
from analysis_lib.methods.rank import Rank
from analysis_lib.models.petl import TECHNIQUES
from analysis_lib.training import loop

OPTIMIZERS = {"sgd": {}, "adamw": {"optimizer": "adamw", "lr": 1e-3}}
EACH_RUN_LEAVES_A_CLASS_OUT = {"lolsgd": {"left_out": 0.5}, "lolsgd_masked": {"left_out": 0.5}}
ON_TOKENS = ["vqt_select", *(name for name, technique in TECHNIQUES.items() if not technique.any_network)]
NEUTRAL = (
    L2SP(weight=0.0),
    LDIFS(weight=0.0),
    LDIFS(weight=0.0, axis="token"),
    FeatureDistance(weight=0.0),
    Distill(weight=0.0),
    DistillAbsent(weight=0.0),
    Rank(weight=0.0),
    LabelSmoothing(smoothing=0.0),
    ProbeThenFineTune(probe=0.0),
)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_runs_on_convolutions_and_on_tokens(fit, network, same, name, model, optimizer):
    if name in ON_TOKENS and model == "test_resnet":
        with pytest.raises(UserError, match="is inserted into the blocks of a timm vision transformer, and .* is none"):
            fit(create_method(name, {}), model)
        return
    trained = fit(create_method(name, {}), model, epochs=1, batch_size=8, **OPTIMIZERS[optimizer])
    assert all(tensor.isfinite().all() for tensor in trained.state_dict().values())
    if trained.state_dict().keys() == network(model).state_dict().keys():
        assert same(trained, network(model)) == (name == "batchnorm_statistics" and model == "test_vit")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_run_continues_to_the_same_bytes(fit, same, monkeypatch, name, optimizer):
    """Killed after the second of three epochs; a new process has a new method and a new network."""
    options, changes = EACH_RUN_LEAVES_A_CLASS_OUT.get(name, {}), {"epochs": 3, **OPTIMIZERS[optimizer]}
    if name in ON_TOKENS:
        changes["name"] = "test_vit"
    whole = fit(create_method(name, options), **changes)
    stored = files.read_tensors(paths.run_checkpoint("toy")), files.read_metadata(paths.run_checkpoint("toy"))
    real = loop.train_epoch

    def stop_at_the_last_epoch(*arguments):
        if arguments[-1] == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(loop, "train_epoch", stop_at_the_last_epoch)
    with pytest.raises(KeyboardInterrupt):
        fit(create_method(name, options), **changes)
    monkeypatch.setattr(loop, "train_epoch", real)
    epochs = []
    resumed = fit(create_method(name, options), after_epoch=lambda n, model: epochs.append(n), fresh=False, **changes)
    assert epochs == [3] and same(resumed, whole)
    again = files.read_tensors(paths.run_checkpoint("toy")), files.read_metadata(paths.run_checkpoint("toy"))
    assert again[1] == stored[1] and again[0].keys() == stored[0].keys()
    assert all(torch.equal(again[0][key], stored[0][key]) for key in stored[0])


@pytest.mark.parametrize("model", ["digits_cnn", "test_resnet", "test_vit", "test_convnext"])
def test_a_method_of_no_weight_is_plain_fine_tuning_to_the_byte(fit, same, model):
    plain = fit(FineTune(), model, epochs=1)
    for method in NEUTRAL:
        assert same(fit(method, model, epochs=1), plain), method


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].choices])
def test_the_choices_are_values_of_an_option_and_hold_its_default(fit, same, name):
    option, values = METHODS[name].choices
    methods = [create_method(name, {option: value}) for value in values]
    assert create_method(name, {}) in methods and len(values) == len(set(values)) == 3
    trained = [fit(method, epochs=4 if option == "probe" else 1) for method in methods]
    assert not same(trained[0], trained[1]), "the option changes the run"
    if option != "left_out":  # of four classes, two are kept at 0.5 and at 0.7
        assert not same(trained[1], trained[2])


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_a_title_and_refuses_unknown_options(name):
    assert [method.title for method in METHODS.values()].count(METHODS[name].title) == 1
    with pytest.raises(UserError, match=f"method '{name}' does not take these options .*; correct the options"):
        create_method(name, {"strength": 1.0})


NAN = float("nan")
WRONG = {
    "weight": (-0.1, NAN, float("inf")),
    "temperature": (0.0, -1.0, NAN),
    "alpha": (-0.1, 1.1, NAN),
    "start": (-0.1, 1.0, NAN),
    "smoothing": (-0.1, 1.1, NAN),
    "probe": (-0.1, 1.1, NAN),
    "left_out": (-0.1, 1.0, NAN),
    "local_runs": (0, -1, 2.5, NAN),
    "rank": (0, -1, 2.5, NAN),
    "prompts": (0, -1, 2.5, NAN),
    "scale": (0.0, -1.0, NAN),
    "dropout": (-0.1, 1.0, NAN),
    "queries": (-1, 2.5, NAN),
    "fraction": (0.0, 1.1, NAN),
    "penalty": (-0.1, NAN, float("inf")),
    "select": (-0.1, 1.0, NAN),
}
NUMBERS = [
    (name, option.name)
    for name, method in METHODS.items()
    for option in fields(method)
    if isinstance(option.default, (int, float))
]


@pytest.mark.parametrize(("name", "option"), NUMBERS)
def test_a_wrong_number_is_refused_before_training(name, option):
    for value in WRONG[option]:
        with pytest.raises(UserError, match=rf"^option {option} of the method .* is {value}; give .*\w$"):
            create_method(name, {option: value})
    with pytest.raises(UserError, match=f"method '{name}' does not take these options"):
        create_method(name, {option: "much"})


def test_an_unknown_axis_names_the_choices():
    with pytest.raises(UserError, match=r"unknown axis 'tokens' \(did you mean 'token'\?\); available: channel, token"):
        create_method("ldifs", {"axis": "tokens"})


@pytest.mark.parametrize("method", [FineTune(), SWA(), WiSE(), *(LOLSGD(left_out=q) for q in (0.0, 0.5))], ids=str)
def test_every_method_takes_as_many_steps(fit, monkeypatch, method):
    count, real = [], torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda *inputs: count.append(1) or real(*inputs))
    fit(method, momentum=0.0, batch_size=3)
    assert len(count) == 2 * 6, "two epochs of 16 images"
