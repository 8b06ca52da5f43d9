import pytest

from analysis_lib import UserError
from analysis_lib.models.output_names import imagenet_names, named


def test_imagenet_classes_are_found_by_synonym_and_by_id():
    names = imagenet_names()
    assert len(names.names) == len(set(names.names)) == 1000
    for written in ("tabby", "tabby cat", "Tabby_Cat", "n02123045"):
        assert names.find(written) == 281, written
    assert names.find("cardigan") == 474, "the whole name is a sweater; the dog is a Cardigan Welsh corgi"
    assert names.find("crane") is None, "a bird and a machine"
    assert names.find("n02012849") != names.find("n03126707")
    assert names.find("oak") is None


def test_labels_as_hubs_write_them_get_the_same_synonyms():
    plain = imagenet_names()
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    texts = info.label_descriptions()
    for labels, descriptions in (
        (texts, None),
        (info.label_names(), info.label_descriptions(as_dict=True)),
        ([text.split(", ")[0] for text in texts], None),
    ):
        names = named(labels, descriptions)
        assert len(set(names.names)) == 1000
        for written in ("tabby cat", "n02123045", "great white shark", "n03126707"):
            assert names.find(written) == plain.find(written)


def test_rows_are_in_the_order_asked_and_what_is_missing_is_listed():
    names = named(["ash tree", "elm", "fir"])
    assert names.rows(["fir", "Ash_Tree"], "x") == [2, 0]
    with pytest.raises(
        UserError, match=r"x has no output for 2 of 3 classes: 'elmm' \(did you mean 'elm'\?\), 'oak'; "
    ):
        names.rows(["elmm", "fir", "oak"], "x")
    with pytest.raises(UserError, match=r"'crane' \(it could be 'crane \(n02012849\)' or 'crane \(n03126707\)'\)"):
        imagenet_names().rows(["crane"], "x")
    with pytest.raises(UserError, match="the class 'tabby' and another one both mean the output 'tabby'; keep one"):
        imagenet_names().rows(["tabby", "tabby cat"], "x")


def test_labels_that_repeat_are_told_apart():
    names = named(["elm", "elm", "fir"])
    assert names.names == ["elm (0)", "elm (1)", "fir"] and names.find("elm") is None and names.find("elm (1)") == 1


def test_the_writings_of_an_output_tell_homonyms():
    names = imagenet_names()
    assert {"mouse", "computer mouse", "n03793489"} <= set(names.writings(names.find("mouse")))
    assert all(", " not in text for text in names.writings(names.find("cab")))
