"""Fetches the engines that the tests run on into a cache outside the checkout: `python -m tests.engines.install`.

Prism is built by Go from the module proxy. The Java job servers are put together by Maven from Beam's runner modules,
since not every mirror of Maven Central carries the ready-made job-server jars. A second call does nothing.
"""

import argparse
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

CACHE = pathlib.Path.home() / ".cache" / "cambeam" / "engines"
NAMES = ("prism", "flink", "spark")
_HIDDEN_JARS = pathlib.Path(__file__).with_name("HiddenJars.java")
_PRISM = "github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0"
_BEAM = "2.70.0"  # the newest Java runner on the mirror that this was tested with; it serves Python's 2.77
_JOB_SERVICE = "2.65.0"  # that mirror's newest job service; it fits the runner
_FLINK, _SPARK = "1.19.3", "3.5.0"
_TIMEOUT_SECONDS = 900

# Maven would take what each module was built with; these must be of one version
_BEAM_MODULES = (
    "beam-sdks-java-core",
    "beam-runners-core-java",
    "beam-runners-java-fn-execution",
    "beam-model-pipeline",
    "beam-model-fn-execution",
    "beam-model-job-management",
    "beam-sdks-java-extensions-google-cloud-platform-core",
    "beam-sdks-java-transform-service-launcher",
    "beam-sdks-java-extensions-avro",
)
_FLINK_MODULES = (
    "flink-annotations",
    "flink-clients",
    "flink-core",
    "flink-file-sink-common",
    "flink-hadoop-fs",
    "flink-java",
    "flink-metrics-core",
    "flink-optimizer",
    "flink-rpc-akka-loader",
    "flink-rpc-core",
    "flink-runtime",
    "flink-streaming-java",
)
_PINS = [
    *(f"org.apache.beam:{module}:{_BEAM}" for module in _BEAM_MODULES),
    f"org.apache.beam:beam-runners-java-job-service:{_JOB_SERVICE}",
    *(f"org.apache.flink:{module}:{_FLINK}" for module in _FLINK_MODULES),
]
_WANTED = {
    "flink": [f"org.apache.beam:beam-runners-flink-1.19:{_BEAM}", "org.slf4j:slf4j-simple:2.0.16"],
    "spark": [
        f"org.apache.beam:beam-runners-spark-3:{_BEAM}",
        "com.esotericsoftware:kryo-shaded:4.0.2",
        *(f"org.apache.spark:spark-{module}_2.12:{_SPARK}" for module in ("core", "streaming", "sql", "catalyst")),
    ],
}


def _dependency(coordinates: str) -> str:
    group, artifact, version = coordinates.split(":")
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version></dependency>"
    )


def pom(name: str) -> str:
    """Returns the Maven project of an engine."""
    return "\n".join(
        [
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>',
            f"<groupId>cambeam</groupId><artifactId>{name}-engine</artifactId><version>1</version>",
            "<dependencyManagement><dependencies>",
            *map(_dependency, _PINS),
            "</dependencies></dependencyManagement>",
            "<dependencies>",
            *map(_dependency, _WANTED[name]),
            "</dependencies></project>\n",
        ]
    )


def home(name: str) -> pathlib.Path:
    """Returns the folder of an engine, there or not; its name changes with what is in it."""
    content = _PRISM if name == "prism" else pom(name) + _HIDDEN_JARS.read_text()
    return CACHE / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def install(name: str) -> pathlib.Path:
    """Installs an engine unless it is there, whole or not at all, and returns its folder."""
    folder = home(name)
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes may ask for it at once
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=CACHE) as work:
                _build(name, pathlib.Path(work) / "home")
                os.rename(pathlib.Path(work) / "home", folder)
    return folder


def _build(name: str, folder: pathlib.Path) -> None:
    folder.mkdir()
    if name == "prism":
        _call("go", "install", _PRISM, GOBIN=str(folder), GOFLAGS="")
        return
    (folder / "pom.xml").write_text(pom(name))
    copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}/jars"]
    _call("mvn", "-q", "-B", "-f", f"{folder}/pom.xml", *copy)
    _call("javac", "-d", f"{folder}/classes", str(_HIDDEN_JARS))
    _call("jar", "cf", f"{folder}/hidden-jars.jar", "-C", f"{folder}/classes", ".")


def _call(*command: str, **environment: str) -> None:
    if not shutil.which(command[0]):
        raise FileNotFoundError(f"{command[0]} is not installed")
    subprocess.run(command, env={**os.environ, **environment}, check=True, timeout=_TIMEOUT_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; default: all")
    names = parser.parse_args().names or NAMES
    if set(names) - set(NAMES):
        parser.error(f"expected names of {', '.join(NAMES)}, got {' '.join(names)}")
    for name in names:
        started = time.monotonic()
        try:
            folder = install(name)
        except (OSError, subprocess.SubprocessError) as error:
            sys.exit(f"{name} could not be installed: {error}")
        print(f"{name}: {folder} ({time.monotonic() - started:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
