"""What Dataflow workers install (--setup_file) and what `pip install` builds."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "pipeline" / "__init__.py").read_text()).group(1)

setup(
    name="cambeam",
    version=VERSION,
    description="Labels image collections with what a classifier sees and where it sees it, on Apache Beam",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["pipeline", "pipeline.*", "transforms", "transforms.*"]),
    package_data={"pipeline.report": ["page/*"], "transforms.model": ["*.npz"]},
    install_requires=[
        "apache-beam>=2.77,<3",
        "tensorflow>=2.21,<3",
        "keras>=3.15,<4",
        "matplotlib>=3.9",
        "numpy>=2",
        "pyarrow>=18",
        "pillow>=11.3",
        "opencv-python-headless>=4.10",
        "simplejpeg>=1.8; platform_machine in 'x86_64 AMD64 aarch64 arm64'",
        "pydantic>=2.10,<3",
        "PyYAML>=6",
        "rich>=13.9",
        "google-crc32c>=1.6",
        "protobuf>=5.29",
    ],
    extras_require={
        "gcp": ["apache-beam[gcp]"],
        "aws": ["apache-beam[aws]"],
        "cuda": ["tensorflow[and-cuda]"],
        "bench": ["openvino"],
        "browser": ["playwright"],
        "dev": [
            "apache-beam[gcp,aws]",
            "datasets",
            "duckdb",
            "gcp-storage-emulator",
            "hypothesis",
            "moto[server]",
            "mypy",
            "pandas",
            "pycocotools",
            "pytest",
            "ruff",
            "supervision",
            "types-PyYAML",
            "webdataset",
        ],
    },
    entry_points={"console_scripts": ["cambeam = pipeline.cli:console_main"]},
)
