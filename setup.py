"""What Dataflow workers install (--setup_file) and what `pip install` builds."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "pipeline" / "__init__.py").read_text()).group(1)
REPOSITORY = "https://github.com/cambeam/cambeam"  # the one place that says where the project lives; has a tag v0.1.0
PACKAGES = ("cambeam", "pipeline", "transforms")


def readme() -> str:
    """Returns README.md with links and pictures that work anywhere: those of the repository, at this version."""

    def absolute(link: re.Match[str]) -> str:
        picture, text, path = link.groups()
        return f"{picture}[{text}]({REPOSITORY}/{'raw' if picture else 'blob'}/v{VERSION}/{path})"

    text = (HERE / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?)\[([^][]*)\]\((?!\w+:|#)([^)\s]+)\)", absolute, text)


setup(
    name="cambeam",
    version=VERSION,
    description="Labels image collections with what a classifier sees and where it sees it, on Apache Beam",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="class activation map, CAM, Grad-CAM, object localization, pseudo-labels, Apache Beam, TensorFlow, Keras",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    project_urls={
        "Source": REPOSITORY,
        "Documentation": f"{REPOSITORY}/tree/v{VERSION}/docs",
        "Changelog": f"{REPOSITORY}/blob/v{VERSION}/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
    },
    python_requires=">=3.11",
    packages=find_packages(include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]),
    py_modules=["cambeam_command"],
    package_data={
        **{name: ["py.typed"] for name in PACKAGES},
        "pipeline.report": ["page/*"],
        "transforms.model": ["*.npz"],
    },
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
        "bench": ["openvino", "py-spy"],
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
    entry_points={"console_scripts": ["cambeam = cambeam_command:main"]},
)
