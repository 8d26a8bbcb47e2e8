"""A fact for every point, and advice where something is wrong."""

from __future__ import annotations

import builtins
import importlib.metadata
import json
import platform
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import h5py
import pytest
import torch

from extract import doctor
from extract.doctor import PACKAGES, Diagnosis, diagnose
from tests.extract.hub import Hub, serve

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU, a disk, one faiss and no wish to ask the network: each test takes one thing away."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("OMP_NUM_THREADS", "HDF5_USE_FILE_LOCKING", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (10 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "NVIDIA Model")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(2**40, 2**39, 2**39))
    install(monkeypatch, {"faiss-cpu": "1.9", "torchvision": None})
    monkeypatch.setattr("extract.doctor.load_faiss", lambda: fake_faiss())
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [pool("libgomp", 2)])


def install(monkeypatch: pytest.MonkeyPatch, packages: dict[str, str | None]) -> None:
    """Pretend that these packages are installed in these versions, or are not."""
    true = importlib.metadata.version

    def version(name: str) -> str:
        if packages.get(name, "as it is") is None or (name.startswith("faiss") and name not in packages):
            raise importlib.metadata.PackageNotFoundError(name)
        return packages.get(name) or true(name)

    monkeypatch.setattr("extract.doctor.version", version)


def fake_faiss(gpus: int = 0) -> Any:
    return SimpleNamespace(__version__="1.9", get_num_gpus=lambda: gpus, get_compile_options=lambda: "OPTIMIZE AVX2 ")


def pool(prefix: str, threads: int) -> dict[str, Any]:
    return {"user_api": "openmp", "prefix": prefix, "filepath": f"/lib/{prefix}.so", "num_threads": threads}


def test_a_healthy_machine_needs_nothing(tmp_path: Path) -> None:
    diagnosis = diagnose(tmp_path)
    assert diagnosis.advice == []
    own = {"python", "xgboost", "cpu", "gpu", "faiss", "openmp", "disk", "hdf5", "hub"}
    assert set(diagnosis.facts) == own | set(PACKAGES)
    assert all(isinstance(fact, str) and fact for fact in diagnosis.facts.values())
    json.dumps(diagnosis.facts)


def test_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = diagnose(tmp_path).facts
    assert facts["python"].startswith(platform.python_version())
    for name in PACKAGES:
        assert facts[name] == importlib.metadata.version(name)
    install(monkeypatch, {"simplejpeg": None, "torchvision": None})
    assert diagnose(tmp_path).facts["simplejpeg"] == "not installed"


def test_a_torchvision_that_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"faiss-cpu": "1.9", "torchvision": "0.99"})
    true = builtins.__import__

    def broken(name: str, *arguments: Any, **options: Any) -> ModuleType:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return true(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(builtins, "__import__", broken)
    (advice,) = diagnose(tmp_path).advice
    assert "nms does not exist" in advice
    assert "pip uninstall torchvision" in advice


def test_the_device_and_its_memory(tmp_path: Path) -> None:
    facts = diagnose(tmp_path).facts
    assert facts["gpu"] == "cuda:0 NVIDIA Model, 10.0 of 80.0 GiB free, bf16"


def test_cores_threads_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "count_cpus", lambda: 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    cpu = diagnose(tmp_path).facts["cpu"]
    if not Path("/proc/meminfo").exists():
        pytest.skip("only Linux says how much memory it has in a file")
    pages = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())["MemTotal"]
    assert cpu == f"6 usable cores, 5 torch threads, {int(pages.split()[0]) / 2**20:.1f} GiB of memory"


def test_memory_that_the_system_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr("os.sysconf", fail)
    assert diagnose(tmp_path).facts["cpu"].endswith(" torch threads, memory unknown")


def test_an_apple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    diagnosis = diagnose(tmp_path)
    assert diagnosis.facts["gpu"] == "mps (Apple)"
    assert diagnosis.advice == []


def test_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    diagnosis = diagnose(tmp_path)
    assert diagnosis.facts["gpu"] == "none"
    (advice,) = diagnosis.advice
    assert advice.startswith("No GPU: embedding runs on the CPU")
    assert "--shard I/N" in advice


def test_a_gpu_that_torch_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == "nvidia-smi" else None)
    _, advice = diagnose(tmp_path).advice
    assert advice.startswith("nvidia-smi is there, but torch")
    assert "install a CUDA build of torch" in advice


@pytest.mark.parametrize(
    ("threads", "cpus", "wrong"), [("1", 4, True), ("4", 4, False), ("8", 4, False), ("", 4, False)]
)
def test_omp_num_threads(threads: str, cpus: int, wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(doctor, "count_cpus", lambda: cpus)
    advice = diagnose(tmp_path).advice
    assert [text.split(" ")[0] for text in advice] == (["OMP_NUM_THREADS=1"] if wrong else [])
    assert not wrong or "the 4 cores; unset it" in advice[0]


def test_faiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert diagnose(tmp_path).facts["faiss"] == "faiss-cpu 1.9, 0 GPUs, OPTIMIZE AVX2"
    monkeypatch.setattr("extract.doctor.load_faiss", lambda: None)
    install(monkeypatch, {"torchvision": None})
    diagnosis = diagnose(tmp_path)
    assert diagnosis.facts["faiss"].startswith("not installed")
    assert diagnosis.advice == ["For faster search: pip install 'galaxy-sommelier[cpu]' (or [gpu], never both)."]


def test_two_builds_of_faiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"faiss-cpu": "1.9", "faiss-gpu-cu12": "1.10", "torchvision": None})
    monkeypatch.setattr("extract.doctor.load_faiss", lambda: fake_faiss(gpus=2))
    diagnosis = diagnose(tmp_path)
    assert diagnosis.facts["faiss"] == "faiss-cpu 1.9, faiss-gpu-cu12 1.10, 2 GPUs, OPTIMIZE AVX2"
    (advice,) = diagnosis.advice
    assert advice.startswith("faiss-cpu 1.9 and faiss-gpu-cu12 1.10 are both installed and overwrite each other")


@pytest.mark.parametrize(
    ("prefixes", "wrong"),
    [(["libgomp"], False), (["libgomp", "libgomp"], False), (["libiomp"], False), (["libgomp", "libiomp"], True),
     (["libomp", "libgomp"], True), ([], False)],
)  # fmt: skip
def test_openmp_runtimes(prefixes: list[str], wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [pool(p, 3) for p in prefixes])
    diagnosis = diagnose(tmp_path)
    for prefix in prefixes:
        assert f"{prefix} ({prefix}.so, 3 threads)" in diagnosis.facts["openmp"]
    assert bool(diagnosis.advice) == wrong
    assert not wrong or "2 OpenMP runtimes of different makers" in diagnosis.advice[0]


def test_the_runtimes_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    diagnosis = Diagnosis()
    doctor._check_openmp(diagnosis)
    assert "threads)" in diagnosis.facts["openmp"]  # torch and scikit-learn bring one


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(2**40, 2**40, 3 * 2**30))
    diagnosis = diagnose(tmp_path)
    assert diagnosis.facts["disk"] == f"3.0 GiB free in {tmp_path}"
    assert diagnosis.advice == [f"Only 3.0 GiB are free in {tmp_path}; joining a store needs twice its size."]


def test_a_folder_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: [seen.append(folder), Usage(1, 1, 2**40)][1])
    assert str(tmp_path) in diagnose(tmp_path / "stores" / "new").facts["disk"]
    assert seen == [tmp_path]
    assert list(tmp_path.iterdir()) == []


def test_hdf5_and_its_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert diagnose(tmp_path).facts["hdf5"] == (
        f"{h5py.version.hdf5_version}, HDF5_USE_FILE_LOCKING not set, locks work here"
    )
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
    assert "HDF5_USE_FILE_LOCKING FALSE" in diagnose(tmp_path).facts["hdf5"]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "unable to lock file, errno = 11")

    monkeypatch.setattr(h5py, "File", fail)
    diagnosis = diagnose(tmp_path)
    assert diagnosis.facts["hdf5"].endswith("cannot create a file here")
    (advice,) = diagnosis.advice
    assert "unable to lock file" in advice
    assert "HDF5_USE_FILE_LOCKING=FALSE" in advice


# the hub


def check_hub() -> Diagnosis:
    diagnosis = Diagnosis()
    doctor._check_hub(diagnosis)
    return diagnosis


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_hub_that_answers(online: pytest.MonkeyPatch) -> None:
    with serve(Hub({})) as hub:
        online.setenv("HF_ENDPOINT", hub.url + "/")
        diagnosis = check_hub()
    assert diagnosis.facts["hub"] == f"{hub.url} answers (200)"
    assert diagnosis.advice == []
    assert hub.requests == ["GET /api/models"]


def test_a_hub_that_is_down(online: pytest.MonkeyPatch) -> None:
    with serve(Hub({})) as hub:
        pass
    online.setenv("HF_ENDPOINT", hub.url)
    diagnosis = check_hub()
    assert diagnosis.facts["hub"] == f"{hub.url} does not answer (ConnectError)"
    (advice,) = diagnosis.advice
    assert "hf download facebook/dinov2-base --local-dir DIR" in advice
    assert "--backbone tiny" in advice


def test_a_hub_client_without_what_we_use(online: pytest.MonkeyPatch) -> None:
    """The doctor goes on whatever is installed."""
    online.setitem(sys.modules, "huggingface_hub", None)
    diagnosis = check_hub()
    assert diagnosis.facts["hub"] == "https://huggingface.co does not answer (ModuleNotFoundError)"
    assert len(diagnosis.advice) == 1


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_a_hub_that_is_switched_off(value: str, online: pytest.MonkeyPatch) -> None:
    online.setenv("HF_HUB_OFFLINE", value)
    diagnosis = check_hub()
    assert diagnosis.facts["hub"] == "HF_HUB_OFFLINE is set: only what is in the cache"
    assert diagnosis.advice == []


def test_xgboost_by_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"faiss-cpu": "1.9", "xgboost": None, "xgboost-cpu": "3.2"})
    assert diagnose().facts["xgboost"] == "xgboost-cpu 3.2"
    install(monkeypatch, {"faiss-cpu": "1.9", "xgboost": None, "xgboost-cpu": None})
    assert diagnose().facts["xgboost"].startswith("not installed: the head xgboost needs it")
