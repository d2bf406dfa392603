from __future__ import annotations

import pytest
import torch

from mnv2dense import ClassifierHead, mobilenet_v2_classifier
from mnv2dense.ops.resize import fit, infos
from mnv2dense.types import Classification, FeatureInfo

INFO = {"last_conv": FeatureInfo(channels=4, stride=32)}
ONE = infos([1], [(64, 64)], [fit(64, 64, (64, 64))])


def head(**options: object) -> ClassifierHead:
    return ClassifierHead(INFO, **{"size": (64, 64), "class_names": ["cat", "dog", "owl"], **options}).eval()  # type: ignore[arg-type]


def test_a_map_is_averaged_before_it_is_weighed() -> None:
    built = head()
    feature = torch.rand(2, 4, 3, 5)
    torch.testing.assert_close(built({"last_conv": feature}, (96, 160)), built.classifier(feature.mean(dim=(2, 3))))


def test_the_likeliest_class_comes_first() -> None:
    built = head()
    (result,) = built.selection(built.decode(torch.tensor([[0.0, 2.0, 1.0]]), (64, 64)), ONE)
    assert isinstance(result, Classification)
    assert result.names == ["dog", "owl", "cat"]
    assert result.scores.sum() == pytest.approx(1.0)
    assert result.above(0.2).names == ["dog", "owl"]
    assert result.top(1).names == ["dog"]
    assert len(result) == 3


def test_a_background_column_takes_part_in_the_softmax_and_is_never_an_answer() -> None:
    built = head(class_offset=1)
    assert built.classifier.out_features == 4
    decoded = built.decode(torch.tensor([[5.0, 0.0, 2.0, 1.0]]), (64, 64))
    torch.testing.assert_close(decoded, torch.tensor([[5.0, 0.0, 2.0, 1.0]]).softmax(1)[:, 1:])
    (result,) = built.selection(decoded, ONE)
    assert result.names == ["dog", "owl", "cat"]
    assert result.scores.sum() < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": []}, "at least one class"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"class_offset": -1}, "class_offset=-1"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(**options)


def test_it_reads_one_feature() -> None:
    with pytest.raises(ValueError, match=r"reads one feature of the backbone, got \['a', 'b'\]"):
        ClassifierHead({"a": INFO["last_conv"], "b": INFO["last_conv"]}, size=(64, 64), class_names=["x"])


def test_the_papers_classifier_has_its_parameters() -> None:
    assert sum(p.numel() for p in mobilenet_v2_classifier().parameters()) == 3_504_872
    assert sum(p.numel() for p in mobilenet_v2_classifier(width_mult=1.4).parameters()) == 6_108_776


def test_a_thousand_classes_without_names_are_imagenets() -> None:
    assert mobilenet_v2_classifier(width_mult=0.35).class_names[:2] == ("tench", "goldfish")
    assert mobilenet_v2_classifier(3, width_mult=0.35).class_names == ("0", "1", "2")


def test_names_and_number_must_agree() -> None:
    with pytest.raises(ValueError, match=r"num_classes=3, but class_names has 2 names"):
        mobilenet_v2_classifier(3, class_names=["a", "b"], width_mult=0.35)
