"""Java processes: the command of one, and Beam's job servers."""

import os
import pathlib

from tests.engines.processes import Engine, free_ports, listening

# what Flink's and Spark's own scripts open of Java 17
_OPENED = (
    "java.io",
    "java.lang",
    "java.lang.invoke",
    "java.lang.reflect",
    "java.net",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
    "jdk.internal.ref",
    "sun.nio.ch",
    "sun.nio.cs",
    "sun.security.action",
    "sun.util.calendar",
)
_OPTIONS = [
    "-XX:+UseSerialGC",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
]


def java(home: pathlib.Path, main: str, *arguments: object, memory: str = "512m", options=()) -> list:
    """Returns the command of a main class among an engine's jars."""
    program = pathlib.Path(os.environ["JAVA_HOME"]) / "bin" / "java" if "JAVA_HOME" in os.environ else "java"
    class_path = () if any("class.loader" in option for option in options) else ("-cp", f"{home}/jars/*")
    return [program, f"-Xmx{memory}", *_OPTIONS, *options, *class_path, main, *arguments]


def hidden_jars(home: pathlib.Path) -> list[str]:
    """Returns options for a job server that does not upload its class path of 163 MB with every job."""
    loader = ["-Djava.system.class.loader=HiddenJars", f"-Djars={home}/jars"]
    return [*loader, "-cp", f"{home}/hidden-jars.jar"]


def start_job_server(engine: Engine, home: pathlib.Path, main: str, *arguments: str, environment=None, options=()):
    """Starts one of Beam's job servers and returns its port."""
    port, artifacts, expansion = free_ports(3)
    flags = [f"--job-port={port}", f"--artifact-port={artifacts}", f"--expansion-port={expansion}"]
    flags += ["--job-host=localhost", f"--artifacts-dir={engine.folder}/artifacts", "--clean-artifacts-per-job"]
    options = [f"-Djava.io.tmpdir={engine.folder}", *options]
    command = java(home, main, *flags, *arguments, memory="1g", options=options)
    engine.start("job-server", command, environment)
    engine.wait(lambda: listening(port), "job server")
    return port
