import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import ProvenanceMismatch
from embeddings.provenance import (
    Provenance,
    Space,
    digest_json,
    list_differences,
    require_same_cache,
    require_same_model,
)
from tests.embeddings.conftest import CLS, MEAN, PROVENANCE

MODEL = (
    '{"architecture":{"depth":2},"normalisation":{"std":[1.0]},"resize":{"size":56},"weights_sha256":"'
    + "5e" * 32
    + '"}'
)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_digest_is_of_canonical_json() -> None:
    assert digest_json({"b": [1, 2.5, None], "a": "é"}) == sha256('{"a":"\\u00e9","b":[1,2.5,null]}')
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_json({"a": float("nan")})


def test_cache_digest_is_of_everything_but_the_runs() -> None:
    assert PROVENANCE.cache_digest == sha256(
        '{"images":{"range":"8-bit RGB","stretch":null},"layers":["L2-cls","L2-patch-mean"],"model":'
        + MODEL
        + ',"precision":"fp32","storage":"float16"}'
    )


def test_space_id_is_of_model_layer_and_pooling() -> None:
    assert PROVENANCE.space_id(MEAN) == sha256('{"layer":2,"model":' + MODEL + ',"pooling":"patch-mean"}')


CHANGES: list[tuple[dict[str, Any], bool, bool]] = [  # the change, and whether cache digest and space id change
    ({"model": PROVENANCE.model | {"weights_sha256": "5f" * 32}}, True, True),
    ({"model": PROVENANCE.model | {"resize": {"size": 57}}}, True, True),
    ({"model": PROVENANCE.model | {"normalisation": {"std": [1]}}}, True, True),
    ({"images": PROVENANCE.images | {"stretch": "asinh"}}, True, False),
    ({"images": {"range": "8-bit RGB"}}, True, False),
    ({"spaces": (CLS,)}, True, False),
    ({"spaces": (MEAN, CLS)}, True, False),
    ({"precision": "bf16"}, True, False),
    ({"storage": "float32"}, True, False),
    ({"runs": ()}, False, False),
    ({"runs": ({"backbone": "other", "device": "cuda"},)}, False, False),
]


@pytest.mark.parametrize(("change", "cache", "space"), CHANGES)
def test_what_changes_a_digest(change: dict[str, Any], cache: bool, space: bool) -> None:
    other = replace(PROVENANCE, **change)
    assert (other.cache_digest != PROVENANCE.cache_digest) == cache
    assert (other.space_id(CLS) != PROVENANCE.space_id(CLS)) == space


def test_space_id_differs_by_layer_and_pooling() -> None:
    assert len({PROVENANCE.space_id(space) for space in (CLS, MEAN, Space(1, "cls"))}) == 3


def test_json_and_back() -> None:
    back = Provenance.from_dict(json.loads(json.dumps(PROVENANCE.to_dict())))
    assert back == PROVENANCE
    assert back.runs == PROVENANCE.runs
    assert back.cache_digest == PROVENANCE.cache_digest


def test_space_names() -> None:
    assert Space(12, "patch-mean").name == "L12-patch-mean"
    assert Space.parse("L12-patch-mean") == (12, "patch-mean")
    assert Space(3, "cls+patch-mean").parts() == ((3, "cls"), (3, "patch-mean"))
    assert Space(3, "cls").parts() == ((3, "cls"),)


def test_with_runs_keeps_each_once_in_order() -> None:
    first, second = {"date": "1", "device": "cpu"}, {"date": "2"}
    merged = PROVENANCE.with_runs(first, second, {"device": "cpu", "date": "1"})
    assert merged.runs == (first, second)
    assert replace(merged, runs=()) == replace(PROVENANCE, runs=())


def test_differences_are_named_with_their_path() -> None:
    ours = {"model": {"resize": {"size": 224}, "depth": 12}, "precision": "fp32"}
    theirs = {"model": {"resize": {"size": 168}, "depth": 12}, "precision": "bf16"}
    assert list(list_differences(ours, theirs)) == [
        "model.resize.size: 224 here, 168 there",
        'precision: "fp32" here, "bf16" there',
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({"a": None}, {}, ["a: null here, nothing there"]),
        ({}, {"a": {"b": 1}}, ['a: nothing here, {"b": 1} there']),
        ({"a": 1}, {"a": 1.0}, ["a: 1 here, 1.0 there"]),
        ({"a": True}, {"a": 1}, ["a: true here, 1 there"]),
        ({"a": (1, 2)}, {"a": [1, 2]}, []),  # JSON has one kind of list
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}, []),
    ],
)
def test_differences_are_those_that_a_digest_sees(ours: Any, theirs: Any, expected: list[str]) -> None:
    assert list(list_differences(ours, theirs)) == expected


def test_long_values_are_shortened() -> None:
    (line,) = list_differences({"a": "x" * 500}, {"a": "y" * 500})
    assert len(line) < 200
    (line,) = list_differences({"a": "x" * 500 + "1"}, {"a": "x" * 500 + "2"})  # alike as far as they are shown
    assert line.startswith("a: ")


names = st.text("abc", min_size=1, max_size=2)
leaves = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.text("xyz", max_size=2)
records = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(names, records, max_size=3)


@given(objects, objects)
def test_differences_exist_exactly_where_json_differs(ours: Any, theirs: Any) -> None:
    same = json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)
    assert (list(list_differences(ours, theirs)) == []) == same
    assert (digest_json(ours) == digest_json(theirs)) == same


@given(st.lists(names, min_size=1, max_size=4), st.lists(names, min_size=1, max_size=4), objects)
def test_one_changed_leaf_is_one_difference(path: list[str], siblings: list[str], rest: Any) -> None:
    def nest(leaf: str) -> Any:
        record: Any = leaf
        for name in reversed(path):
            record = {**{f"{sibling}-other": rest for sibling in siblings}, name: record}
        return record

    assert list(list_differences(nest("old"), nest("new"))) == [f'{".".join(path)}: "old" here, "new" there']


def test_caches_of_other_runs_are_the_same() -> None:
    require_same_cache(PROVENANCE, replace(PROVENANCE, runs=({"device": "cuda"},)), "s.h5")


@pytest.mark.parametrize("change", [change for change, cache, _ in CHANGES if cache])
def test_another_cache_is_refused_with_the_fields(change: dict[str, Any]) -> None:
    with pytest.raises(ProvenanceMismatch, match=r"^s\.h5 was made in another way") as caught:
        require_same_cache(PROVENANCE, replace(PROVENANCE, **change), "s.h5")
    (field,) = change
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"  {'layers' if field == 'spaces' else field}")
    assert "run" not in lines[0]


def test_another_model_is_refused_with_the_fields() -> None:
    require_same_model(PROVENANCE.model, dict(reversed(PROVENANCE.model.items())), "A and B")
    with pytest.raises(ProvenanceMismatch, match=r"(?s)A and B: .*model\.resize\.size: 56 here, 57 there"):
        require_same_model(PROVENANCE.model, PROVENANCE.model | {"resize": {"size": 57}}, "A and B")
