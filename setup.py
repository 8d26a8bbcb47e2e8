"""Install galaxy-sommelier: one command, and its rooms as top-level packages."""

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent

setup(
    name="galaxy-sommelier",
    version="0.1.0",
    description="Frozen vision-transformer embeddings of galaxies: cached with proof, scored with honest statistics",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[
        "sommelier",
        "benchmarks",
        "benchmarks.reporting",
        "embeddings",
        "embeddings.search",
        "extract",
        "extract.download",
        "extract.simulation",
        "finetune",
        "heads",
    ],
    package_data={
        "benchmarks": ["suites/*.yaml", "templates/*"],
        "embeddings": ["FORMAT.md"],
        "extract": ["tiny/*"],
        "finetune": ["configs/*.yaml", "templates/*.md"],
    },
    entry_points={"console_scripts": ["sommelier=sommelier:main"]},
    install_requires=[
        "astropy>=6.1",
        "astropy-healpix>=1.1",
        "click>=8.2",
        "h5py>=3.10",
        "huggingface_hub>=1",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "numpy>=2",
        "pandas>=3",
        "pillow>=11",
        "plotly>=6",
        "pooch>=1.8",
        "pyarrow>=16",
        "pydantic>=2.9",
        "pyyaml>=6",
        "requests>=2.31",
        "rich>=13",
        "safetensors>=0.4",
        "scikit-learn>=1.6",
        "scipy>=1.13",
        "simplejpeg>=1.8",
        "threadpoolctl>=3.5",
        "torch>=2.5",
        "transformers>=5.23",
        "urllib3>=2",
        "xxhash>=3.4",
    ],
    extras_require={
        # plain xgboost brings NVIDIA's libraries on Linux; xgboost-cpu has no build for macOS
        "cpu": ["faiss-cpu>=1.9", "xgboost-cpu>=3; sys_platform != 'darwin'", "xgboost>=3; sys_platform == 'darwin'"],
        "gpu": ["faiss-gpu-cu12>=1.9", "xgboost>=3"],
        "lora": ["peft>=0.20"],
        "wandb": ["wandb>=0.19"],
        "umap": ["umap-learn>=0.5.7"],
        "dev": [
            "hypothesis>=6",
            "mypy>=1.13",
            "pandas-stubs",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
            "selenium>=4.25",
            "types-pyyaml",
        ],
    },
)
