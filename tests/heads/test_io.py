"""Head folders: written, read, damaged, and used on stores."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.errors import HeadError, ProvenanceMismatch, StoreError
from embeddings.provenance import Provenance, Space, digest_json
from embeddings.questions import Question
from heads import io
from heads.base import Head
from heads.baselines import MeanHead
from heads.io import HEADS, FittedHead, digest_space, load_head, make_head
from heads.knn import KNNHead
from heads.linear import RidgeHead
from tests.heads.conftest import MODEL, StoreMaker

NAN = float("nan")
CLS = Space(12, "cls")
SHAPE = Question("shape", ("round", "flat"), parent="odd_no")
SIZE = Question("size", kind="value")
QUESTIONS = (SHAPE, SIZE)


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(60, 6)).astype(np.float32)


@pytest.fixture
def Y(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    Y = np.stack([X[:, 0], X[:, 1] / 9 + 0.5, 30 * X[:, 2]], axis=1) + rng.normal(0, 0.1, (60, 3)).astype(np.float32)
    Y[:20, :2] = NAN
    return Y


def fit(X: np.ndarray, Y: np.ndarray, head: Head | None = None, space: Space = CLS, **fields: Any) -> FittedHead:
    head = RidgeHead(QUESTIONS) if head is None else head
    ids = np.array([f"sky-{row}" for row in range(len(X))])
    return FittedHead(head.fit(X, Y), space, digest_space(MODEL, space), MODEL, ids, **fields)


@pytest.fixture
def saved(X: np.ndarray, Y: np.ndarray, tmp_path: Path) -> Path:
    return fit(X, Y).save(tmp_path / "head")


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "head.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sign(folder: Path) -> None:
    """Write the digest of the arrays into the record, as if they had been saved together."""
    record = json.loads((folder / "head.json").read_text())
    record["arrays_sha256"] = hashlib.sha256((folder / "arrays.npz").read_bytes()).hexdigest()
    (folder / "head.json").write_text(json.dumps(record))


def rewrite_arrays(folder: Path, change: Any) -> None:
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(folder / "arrays.npz", **arrays)
    sign(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# there and back


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "head",
    [
        MeanHead(QUESTIONS),
        KNNHead(QUESTIONS, 4),
        KNNHead(QUESTIONS, k_choices=np.arange(2, 9, 3)),
        RidgeHead(QUESTIONS, 4),
        RidgeHead(QUESTIONS, np.int64(2), alphas=np.logspace(-1, 3, 5)),
        RidgeHead(None),
    ],
    ids=lambda head: f"{head.name}-{type(getattr(head, 'alphas', getattr(head, 'k_choices', None))).__name__}",
)
def test_predictions_are_the_same_bit_for_bit(
    head: Head, dtype: type, X: np.ndarray, Y: np.ndarray, tmp_path: Path, rng: np.random.Generator
) -> None:
    fitted = fit(X.astype(dtype), Y, head)
    new = rng.normal(size=(25, 6)).astype(dtype)
    loaded = load_head(fitted.save(tmp_path / "head"))
    P = loaded.head.predict(new)
    assert P.dtype == head.predict(new).dtype
    assert P.tobytes() == head.predict(new).tobytes()
    assert type(loaded.head) is type(head)
    again = load_head(loaded.save(tmp_path / "again"))
    assert again.head.predict(new).tobytes() == P.tobytes()


def test_everything_else_comes_back(X: np.ndarray, Y: np.ndarray, tmp_path: Path) -> None:
    scores = [{"target": "shape_round", "r": 0.5, "auc": None, "n": 40}]
    details = {"stores": ["sky.h5"], "folds": 5}
    space = Space(7, "cls+patch-mean")
    fitted = fit(X, Y, RidgeHead(QUESTIONS, 3, alphas=(1.0, 10.0)), space, scores=scores, details=details)
    fitted.train_ids[0] = "NGC 1°"
    loaded = load_head(fitted.save(tmp_path / "head"))
    assert loaded.questions == QUESTIONS
    assert loaded.targets == ["shape_round", "shape_flat", "size"]
    assert loaded.head.questions == QUESTIONS
    assert loaded.head.random_state == 3
    assert list(loaded.head.alphas) == [1, 10]
    assert loaded.space == space
    assert loaded.space_id == fitted.space_id
    assert loaded.model == MODEL
    assert loaded.train_ids.tolist() == fitted.train_ids.tolist()
    assert loaded.scores == scores
    assert loaded.details == details


def test_space_ids_are_those_of_the_format() -> None:
    # FORMAT.md: the digest of model, layer and pooling; side by side, that of the list of the two
    provenance = Provenance(MODEL, {}, (CLS,))
    ids = [digest_json({"model": MODEL, "layer": 12, "pooling": pooling}) for pooling in ("cls", "patch-mean")]
    assert digest_space(MODEL, CLS) == provenance.space_id(CLS) == ids[0]
    assert digest_space(MODEL, Space(12, "cls+patch-mean")) == digest_json(ids)


def test_nothing_is_pickled(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["arrays.npz", "head.json"]
    with np.load(saved / "arrays.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert all(not values.dtype.hasobject for values in arrays.values())
    assert set(arrays) == {
        *("train_ids", "head/mean_", "head/scale_", "head/n_targets_"),
        *("head/coef_", "head/intercept_", "head/alpha_"),
    }
    record = json.loads((saved / "head.json").read_text())
    assert (record["format"], record["version"], record["files"]) == ("galaxy-sommelier/head", "1.1", {})


def test_a_pickle_in_the_arrays_is_refused(saved: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return pytest.fail, ("the pickle was executed",)

    rewrite_arrays(saved, lambda arrays: arrays.update({"head/coef_": np.array([Bomb()], dtype=object)}))
    with pytest.raises(HeadError, match="allow_pickle=False"):
        load_head(saved)


# where it may be written


def test_a_head_is_replaced_whole(saved: Path, X: np.ndarray, Y: np.ndarray) -> None:
    fit(X[:, :4], Y, KNNHead(QUESTIONS)).save(saved)
    assert load_head(saved).head.name == "knn"
    assert load_head(str(saved)).head.predict(X[:, :4]).shape == (60, 3)
    assert [path.name for path in saved.parent.iterdir()] == ["head"]  # nothing is left beside it


def test_folders_are_made_and_an_empty_one_is_used(X: np.ndarray, Y: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fit(X, Y).save(tmp_path / "empty")
    fit(X, Y).save(tmp_path / "a" / "b" / "head")
    assert load_head(tmp_path / "a" / "b" / "head").targets == load_head(tmp_path / "empty").targets


@pytest.mark.parametrize("names", [["notes.txt"], ["arrays.npz"], ["head.json", "predictions.parquet"], ["sub/a"]])
def test_a_folder_that_holds_something_else_is_refused(
    names: list[str], X: np.ndarray, Y: np.ndarray, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text("mine")
    with pytest.raises(HeadError, match="another folder"):
        fit(X, Y).save(tmp_path / "mine")
    assert all((tmp_path / "mine" / name).read_text() == "mine" for name in names)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_is_refused(X: np.ndarray, Y: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HeadError, match="is a file"):
        fit(X, Y).save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_keeps_the_old_head(
    saved: Path, X: np.ndarray, Y: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(saved)

    def fail(file: Path, **arrays: np.ndarray) -> None:
        file.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(HeadError, match=r"No space left on device.*kept"):
        fit(X, -Y).save(saved)
    assert contents(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["head"]


@pytest.mark.parametrize("error", [OSError("renamed away"), KeyboardInterrupt()])
def test_a_rename_that_fails_keeps_the_old_head(
    error: BaseException, saved: Path, X: np.ndarray, Y: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(saved)
    rename = os.replace

    def fail(source: Path, target: Path) -> None:
        if source.name.endswith(".tmp"):
            raise error
        rename(source, target)

    monkeypatch.setattr(io.os, "replace", fail)
    with pytest.raises((HeadError, KeyboardInterrupt)):
        fit(X, -Y).save(saved)
    assert contents(saved) == before
    assert [path.name for path in saved.parent.iterdir()] == ["head"]


def test_the_new_head_is_whole_before_the_old_one_moves(
    saved: Path, X: np.ndarray, Y: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = fit(X, -Y)
    rename, steps = os.replace, []

    def look(source: Path, target: Path) -> None:
        (whole,) = saved.parent.glob("*.tmp")
        steps.append(np.array_equal(load_head(whole).head.predict(X), fresh.head.predict(X)))
        rename(source, target)

    monkeypatch.setattr(io.os, "replace", look)
    fresh.save(saved)
    assert steps == [True, True]


# damage


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match=r"is not a head: .*head\.json is missing.*sommelier head fit"):
        load_head(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["head.json", "arrays.npz"])
def test_a_file_is_missing(name: str, saved: Path) -> None:
    (saved / name).unlink()
    with pytest.raises(HeadError, match=f"{name} is missing"):
        load_head(saved)


@pytest.mark.parametrize("name", ["head.json", "arrays.npz"])
def test_truncated(name: str, saved: Path) -> None:
    raw = (saved / name).read_bytes()
    for length in range(0, len(raw) - 1, 53):
        (saved / name).write_bytes(raw[:length])
        with pytest.raises(HeadError, match="damaged"):
            load_head(saved)


@pytest.mark.parametrize("bits", [0x01, 0xFF])
def test_a_flipped_byte_is_noticed_or_harmless(bits: int, saved: Path, X: np.ndarray) -> None:
    P = load_head(saved).head.predict(X)
    path = saved / "arrays.npz"
    raw = path.read_bytes()
    noticed = 0
    for place in range(0, len(raw), 3):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ bits]) + raw[place + 1 :])
        try:
            read = load_head(saved).head.predict(X)
        except HeadError:
            noticed += 1
        else:
            assert np.array_equal(read, P)  # a time or a flag of the zip format
    assert noticed > len(raw) / 3 / 2


@pytest.mark.parametrize("text", ["[]", "3", '"head"', "{", "", "\0", "null"])
def test_json_that_is_no_record(text: str, saved: Path) -> None:
    (saved / "head.json").write_text(text)
    with pytest.raises(HeadError, match="damaged"):
        load_head(saved)


@pytest.mark.parametrize("field", ["head", "parameters", "questions", "space", "model", "scores", "details"])
@pytest.mark.parametrize("wrong", ["absent", None, 7])
def test_a_record_without_one_of_its_fields(field: str, wrong: Any, saved: Path) -> None:
    record = json.loads((saved / "head.json").read_text())
    del record[field]
    if wrong != "absent":
        record[field] = wrong
    (saved / "head.json").write_text(json.dumps(record))
    if field in ("scores", "details") and wrong != "absent":  # recorded, never used
        load_head(saved)
        return
    with pytest.raises(HeadError, match=r"Fit the head again|not known"):
        load_head(saved)


@pytest.mark.parametrize("name", ["head/coef_", "head/mean_", "head/n_targets_", "train_ids"])
def test_arrays_without_one_of_them(name: str, saved: Path) -> None:
    rewrite_arrays(saved, lambda arrays: arrays.pop(name))
    with pytest.raises(HeadError, match="damaged"):
        load_head(saved)


def test_arrays_set_nothing_that_the_head_does_not_save(saved: Path, X: np.ndarray) -> None:
    P = load_head(saved).head.predict(X)
    rewrite_arrays(saved, lambda arrays: arrays.update({"head/predict": np.zeros(3), "head/questions": np.zeros(3)}))
    assert np.array_equal(load_head(saved).head.predict(X), P)


def test_arrays_that_are_no_zip(saved: Path) -> None:
    np.save(saved / "one.npy", np.zeros(3))
    (saved / "one.npy").replace(saved / "arrays.npz")
    sign(saved)
    with pytest.raises(HeadError, match="damaged"):
        load_head(saved)
    with zipfile.ZipFile(saved / "arrays.npz", "w") as file:
        file.writestr("head/coef_.npy", b"no array")
    sign(saved)
    with pytest.raises(HeadError, match="damaged"):
        load_head(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "2.0"}, "version 2.0; expected galaxy-sommelier/head 1.1"),
        ({"version": None}, "version None"),
        ({"format": "galaxy-sommelier/embedding-store"}, "is galaxy-sommelier/embedding-store version 1.1"),
        ({"head": "rigde"}, "'rigde' is not known. Did you mean 'ridge'"),
        ({"parameters": {"depth": 3}}, "depth"),
        ({"questions": [{"name": "a", "answers": [], "parent": None, "kind": "guess"}]}, "guess"),
    ],
)
def test_another_version_or_kind(changes: dict[str, Any], message: str, saved: Path) -> None:
    rewrite(saved, **changes)
    with pytest.raises(HeadError, match=message):
        load_head(saved)


def test_the_first_version_named_no_files(saved: Path, X: np.ndarray) -> None:
    record = json.loads((saved / "head.json").read_text())
    del record["files"]
    (saved / "head.json").write_text(json.dumps(record | {"version": "1.0"}))
    assert load_head(saved).head.predict(X).shape == (60, 3)


def test_a_later_minor_version_is_read(saved: Path) -> None:
    rewrite(saved, version="1.7", news="something added")
    assert load_head(saved).targets == ["shape_round", "shape_flat", "size"]


@pytest.mark.parametrize("change", [{"model": MODEL | {"resize": {"size": 112}}}, {"layer": 11}, {"pooling": "x"}])
def test_a_space_id_that_does_not_belong(change: dict[str, Any], saved: Path) -> None:
    record = json.loads((saved / "head.json").read_text())
    (record if "model" in change else record["space"]).update(change)
    (saved / "head.json").write_text(json.dumps(record))
    with pytest.raises(HeadError, match="space id does not belong"):
        load_head(saved)


def test_unknown_heads_are_named() -> None:
    with pytest.raises(HeadError, match=r"'kn' is not known\. Did you mean 'knn'"):
        make_head("kn")
    assert make_head("knn", QUESTIONS, k_choices=(2,)).get_params(deep=False) == {
        "questions": QUESTIONS,
        "random_state": 0,
        "weight_by_votes": False,
        "k_choices": (2,),
    }


# files of a head's own


class Diary(RidgeHead):
    """A ridge that keeps a diary."""

    def to_files(self) -> dict[str, bytes]:
        return {"diary.txt": b"dear diary"}

    def from_files(self, files: dict[str, bytes]) -> Diary:
        self.diary_ = files["diary.txt"]
        return self

    def predict_columns(self, X: np.ndarray) -> dict[str, np.ndarray]:
        return {"size_std": X[:, 0]}


@pytest.fixture
def diary(X: np.ndarray, Y: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FittedHead:
    monkeypatch.setitem(HEADS, "ridge", f"{__name__}:Diary")
    return fit(X, Y, Diary(QUESTIONS))


def test_own_files_come_back(diary: FittedHead, tmp_path: Path) -> None:
    folder = diary.save(tmp_path / "head")
    assert contents(folder)["diary.txt"] == b"dear diary"
    assert load_head(folder).head.diary_ == b"dear diary"
    diary.save(folder)  # is no other's file
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(HeadError, match="more than a head, and it would be lost: notes"):
        diary.save(folder)


@pytest.mark.parametrize("change", ["flip", "remove"])
def test_own_files_that_were_damaged(change: str, diary: FittedHead, tmp_path: Path) -> None:
    folder = diary.save(tmp_path / "head")
    if change == "flip":
        (folder / "diary.txt").write_bytes(b"Dear diary")
    else:
        (folder / "diary.txt").unlink()
    with pytest.raises(HeadError, match=r"damaged: .*diary.txt"):
        load_head(folder)


def test_what_a_head_says_beside_its_targets(diary: FittedHead, make_store: StoreMaker, X: np.ndarray) -> None:
    predictions = diary.predict(make_store({CLS: X}, failed=[3]))
    there = np.delete(X, 3, axis=0)
    assert np.array_equal(predictions.columns["size_std"], there[:, 0])
    table, names = predictions.tabulate()
    assert names == ["shape_round", "shape_flat", "size", "size_std"]
    assert np.array_equal(table[:, :3], predictions.P)
    assert np.array_equal(table[:, 3], there[:, 0])


# on stores


def test_predicts_the_galaxies_that_have_vectors(make_store: StoreMaker, X: np.ndarray, Y: np.ndarray) -> None:
    store = make_store({CLS: X}, failed=[0, 7])
    fitted = fit(X, Y)
    predictions = fitted.predict(store)
    there = [row for row in range(60) if row not in (0, 7)]
    assert predictions.ids.tolist() == [f"sky-{row}" for row in there]
    assert predictions.targets == ["shape_round", "shape_flat", "size"]
    assert np.array_equal(predictions.P, fitted.head.predict(X[there]))
    assert np.isfinite(predictions.P).all()


def test_predicts_from_its_own_layer(make_store: StoreMaker, X: np.ndarray, Y: np.ndarray) -> None:
    # the head's layer 7 is neither the store's first nor its last, and read side by side
    space = Space(7, "cls+patch-mean")
    store = make_store({CLS: -X, Space(7, "cls"): X[:, :2], Space(7, "patch-mean"): X[:, 2:], Space(3, "cls"): 0 * X})
    fitted = fit(X, Y, space=space)
    assert np.array_equal(fitted.predict(store).P, fitted.head.predict(X))


def test_seen_counts_training_galaxies(make_store: StoreMaker, X: np.ndarray, Y: np.ndarray) -> None:
    fitted = fit(X, Y)  # sky-0 to sky-59
    ids = ["sky-3", "new-1", "sky-59", "sky-60", "sky-5"]
    assert fitted.predict(make_store({CLS: X[:5]}, ids=ids)).seen == 3
    assert fitted.predict(make_store({CLS: X[:5]}, ids=ids, failed=[2])).seen == 2  # sky-59 is not predicted
    assert fitted.predict(make_store({CLS: X[:5]}, survey="other")).seen == 0


def test_a_store_without_vectors(make_store: StoreMaker, X: np.ndarray, Y: np.ndarray) -> None:
    predictions = fit(X, Y).predict(make_store({CLS: X[:2]}, failed=[0, 1]))
    assert predictions.P.shape == (0, 3)
    assert predictions.seen == 0


def test_a_store_of_another_model(make_store: StoreMaker, X: np.ndarray, Y: np.ndarray) -> None:
    other = MODEL | {"weights_sha256": "1" * 64, "resize": {"size": 168}}
    with pytest.raises(ProvenanceMismatch) as raised:
        fit(X, Y).predict(make_store({CLS: X}, model=other))
    message = str(raised.value)
    assert "model.resize.size: 224 here, 168 there" in message
    assert "model.weights_sha256" in message
    assert "architecture" not in message  # the same in both


def test_a_store_without_the_layer(make_store: StoreMaker, X: np.ndarray, Y: np.ndarray) -> None:
    store = make_store({Space(11, "cls"): X, Space(12, "patch-mean"): X})
    with pytest.raises(StoreError, match=r"does not hold L12-cls; it holds L11-cls, L12-patch-mean"):
        fit(X, Y).predict(store)
    with pytest.raises(StoreError, match="does not hold L12-cls"):
        fit(X, Y, space=Space(12, "cls+patch-mean")).predict(store)


def test_other_images_and_precision_are_allowed(make_store: StoreMaker, X: np.ndarray, Y: np.ndarray) -> None:
    store = make_store({CLS: X}, precision="bf16", storage="float16")
    fitted = fit(X, Y)
    assert np.abs(fitted.predict(store).P - fitted.head.predict(X)).max() < 0.1


def test_arrays_of_another_head_are_refused(saved: Path) -> None:
    arrays = dict(np.load(saved / "arrays.npz"))
    np.savez(saved / "arrays.npz", **(arrays | {"head/coef_": arrays["head/coef_"] + 1}))
    with pytest.raises(HeadError, match=r"damaged: arrays.npz is not the one that head.json describes"):
        load_head(saved)
