"""What this machine has, what is wrong with it, and what to do."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5py
import torch

from embeddings.search import load_faiss
from extract.devices import choose_precision
from extract.processes import count_cpus

PACKAGES = (
    "galaxy-sommelier", "torch", "transformers", "safetensors", "huggingface_hub", "numpy", "h5py", "pandas",
    "pyarrow", "astropy", "scipy", "scikit-learn", "pillow", "simplejpeg",
)  # fmt: skip
XGBOOST_PACKAGES = ("xgboost-cpu", "xgboost")
FAISS_PACKAGES = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
LOW_DISK = 10 * 2**30  # bytes: a 240,000-row store of ViT-B needs 0.8 GB while it is joined, images far more
HUB_TIMEOUT = 5.0  # seconds


@dataclass
class Diagnosis:
    """
    Facts by name, and advice for what is wrong.

    Attributes
    ----------
    facts : dict
    advice : list of str
        Empty when nothing needs doing.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)


def diagnose(folder: str | os.PathLike[str] = ".") -> Diagnosis:
    """
    Look at versions, devices, threads, faiss, OpenMP, HDF5 locks, disk and the hub.

    Parameters
    ----------
    folder : path
        Where stores are going to be written.
    """
    diagnosis = Diagnosis()
    for check in (_check_versions, _check_devices, _check_faiss, _check_openmp):
        check(diagnosis)
    _check_folder(diagnosis, Path(folder))
    _check_hub(diagnosis)
    return diagnosis


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _check_versions(diagnosis: Diagnosis) -> None:
    diagnosis.facts["python"] = f"{platform.python_version()} on {platform.platform()}"
    diagnosis.facts |= {name: _installed(name) or "not installed" for name in PACKAGES}
    builds = [f"{name} {number}" for name in XGBOOST_PACKAGES if (number := _installed(name))]
    missing = "not installed: the head xgboost needs it (pip install xgboost-cpu, or xgboost for a GPU)"
    diagnosis.facts["xgboost"] = ", ".join(builds) or missing
    if _installed("torchvision"):
        try:
            import torchvision  # noqa: F401
        except Exception as error:  # a broken build raises RuntimeError, others ImportError
            diagnosis.advice.append(
                f"torchvision is installed but does not import ({error}); transformers stumbles over it. It is not "
                "needed here: pip uninstall torchvision"
            )


def _check_devices(diagnosis: Diagnosis) -> None:
    facts, cpus = diagnosis.facts, count_cpus()
    facts["cpu"] = f"{cpus} usable cores, {torch.get_num_threads()} torch threads, {_read_memory()}"
    devices = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        precision = choose_precision("auto", f"cuda:{number}")
        name = torch.cuda.get_device_name(number)
        devices.append(f"cuda:{number} {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, {precision}")
    if torch.backends.mps.is_available():
        devices.append("mps (Apple)")
    facts["gpu"] = "; ".join(devices) or "none"
    if not devices:
        diagnosis.advice.append(
            "No GPU: embedding runs on the CPU; extract --dry-run says how long it takes. For large catalogs "
            "use a machine with one, or split the work over machines with --shard I/N."
        )
        if shutil.which("nvidia-smi"):
            diagnosis.advice.append(
                f"nvidia-smi is there, but torch {torch.__version__} sees no GPU: install a CUDA build of torch."
            )
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads and threads.isdigit() and int(threads) < cpus:
        diagnosis.advice.append(
            f"OMP_NUM_THREADS={threads} holds threads below the {cpus} cores; unset it unless you meant to."
        )


def _read_memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return f"{total / 2**30:.1f} GiB of memory"
    except (ValueError, OSError):
        return "memory unknown"


def _check_faiss(diagnosis: Diagnosis) -> None:
    builds = [f"{name} {number}" for name in FAISS_PACKAGES if (number := _installed(name))]
    faiss = load_faiss()
    if faiss is None:
        diagnosis.facts["faiss"] = "not installed; search is exact, by numpy"
        diagnosis.advice.append("For faster search: pip install 'galaxy-sommelier[cpu]' (or [gpu], never both).")
    else:
        gpus = getattr(faiss, "get_num_gpus", lambda: 0)()
        diagnosis.facts["faiss"] = (
            f"{', '.join(builds) or faiss.__version__}, {gpus} GPUs, {faiss.get_compile_options().strip()}"
        )
    if len(builds) > 1:
        diagnosis.advice.append(
            f"{' and '.join(builds)} are both installed and overwrite each other: pip uninstall both, then install one."
        )


def _check_openmp(diagnosis: Diagnosis) -> None:
    import sklearn.utils  # noqa: F401 - it brings its own runtime: count it too
    from threadpoolctl import threadpool_info

    runtimes = [pool for pool in threadpool_info() if pool["user_api"] == "openmp"]
    names = [f"{pool['prefix']} ({Path(pool['filepath']).name}, {pool['num_threads']} threads)" for pool in runtimes]
    diagnosis.facts["openmp"] = "; ".join(names) or "none found"
    if {"libiomp", "libomp"} & {pool["prefix"] for pool in runtimes} and len(runtimes) > 1:
        diagnosis.advice.append(
            f"{len(runtimes)} OpenMP runtimes of different makers are loaded ({'; '.join(names)}). If a process hangs "
            "or crashes, install all packages from one place (all pip or all conda)."
        )


def _check_folder(diagnosis: Diagnosis, folder: Path) -> None:
    folder = folder.resolve()
    while not folder.is_dir():  # it is made when the first store is written
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    diagnosis.facts["disk"] = f"{usage.free / 2**30:.1f} GiB free in {folder}"
    if usage.free < LOW_DISK:
        diagnosis.advice.append(
            f"Only {usage.free / 2**30:.1f} GiB are free in {folder}; joining a store needs twice its size."
        )
    setting = os.environ.get("HDF5_USE_FILE_LOCKING", "not set")
    diagnosis.facts["hdf5"] = (
        f"{h5py.version.hdf5_version}, HDF5_USE_FILE_LOCKING {setting}, {_try_lock(diagnosis, folder)}"
    )


def _try_lock(diagnosis: Diagnosis, folder: Path) -> str:
    """Whether HDF5 can lock a file here; writing needs it unless it is switched off."""
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch, h5py.File(Path(scratch) / "lock.h5", "w"):
            return "locks work here"
    except OSError as error:
        diagnosis.advice.append(
            f"HDF5 cannot create files in {folder} ({error}). If the folder can be written, set "
            "HDF5_USE_FILE_LOCKING=FALSE or use a local disk; otherwise choose another folder."
        )
        return "cannot create a file here"


def _check_hub(diagnosis: Diagnosis) -> None:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        diagnosis.facts["hub"] = "HF_HUB_OFFLINE is set: only what is in the cache"
        return
    try:
        from huggingface_hub import get_session  # httpx or httpx2: whichever the hub's client uses

        answer = get_session().get(f"{endpoint}/api/models?limit=1", timeout=HUB_TIMEOUT)
        diagnosis.facts["hub"] = f"{endpoint} answers ({answer.status_code})"
    except Exception as error:  # any failure of the network is an answer
        diagnosis.facts["hub"] = f"{endpoint} does not answer ({type(error).__name__})"
        diagnosis.advice.append(
            "No hub: use --backbone with a folder that you copied here (on a machine with network: "
            "hf download facebook/dinov2-base --local-dir DIR), or --backbone tiny."
        )
