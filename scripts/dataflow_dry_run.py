"""Builds Dataflow jobs offline and prints what they ask for.

    python -m scripts.dataflow_dry_run configs/dataflow_gpu.yaml

The real command makes a template, with an emulator in place of Google Cloud Storage; nothing leaves this machine.
"""

import contextlib
import io
import json
import logging
import os
import sys
import tarfile
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

import google.auth.credentials
from apache_beam.internal.gcp import auth
from apache_beam.portability.api import beam_runner_api_pb2
from gcp_storage_emulator.server import create_server
from google.cloud import storage

from pipeline import cli

BUCKET = "bucket"
TEMPLATE = "template.json"
IMAGE = "us-central1-docker.pkg.dev/my-project/cambeam/cambeam:0.1.0"
PAR_DO, FLATTEN, GROUP_BY_KEY = ("beam:transform:" + name for name in ("pardo:v1", "flatten:v1", "group_by_key:v1"))


class Job(NamedTuple):
    """A job as it is handed to Dataflow.

    Attributes:
      request: what Dataflow is asked for, as JSON.
      pipeline: the graph.
      objects: all that was written to the bucket, by name.
    """

    request: dict[str, Any]
    pipeline: beam_runner_api_pb2.Pipeline
    objects: dict[str, bytes]


@contextlib.contextmanager
def emulated_storage() -> Iterator[storage.Bucket]:
    """Puts an emulator in place of Google Cloud Storage; yields a bucket that has two shards without images."""
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    server = create_server("localhost", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    host = f"http://localhost:{server._api._httpd.server_port}"
    # else Beam looks for Google's credentials, which takes 20 s where there are none
    with mock.patch.dict(os.environ, STORAGE_EMULATOR_HOST=host), mock.patch.object(auth, "_Credentials") as found:
        found.get_service_credentials.return_value = None
        try:
            client = storage.Client("my-project", google.auth.credentials.AnonymousCredentials())
            for name in ("a", "b"):
                client.bucket(BUCKET).blob(f"shards/{name}.tar").upload_from_string(_empty_tar())
            yield client.bucket(BUCKET)
        finally:
            server.stop()


def _empty_tar() -> bytes:
    content = io.BytesIO()
    tarfile.open(fileobj=content, mode="w").close()
    return content.getvalue()


def command(config: str, *options: str) -> list[str]:
    """The command that a person would give, with the demo model, which needs no download."""
    where = ["--project=my-project", "--region=us-central1", f"--temp_location=gs://{BUCKET}/tmp", "--no_auth"]
    data = ["--input", f"gs://{BUCKET}/shards/*.tar", "--output", f"gs://{BUCKET}/labels", "--model", "demo"]
    return ["run", "--config", config, *data, *where, "--job_name=cambeam", *options]


def build(config: str, bucket: storage.Bucket) -> Job:
    """Runs the command up to the point where Dataflow would take over."""
    image = [] if config.endswith("cpu.yaml") else [f"--sdk_container_image={IMAGE}"]
    code = cli.main(command(config, *image, f"--template_location=gs://{BUCKET}/{TEMPLATE}"))
    if code:
        raise RuntimeError(f"the command ended with exit code {code}")
    objects = {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs()}
    (graph,) = (content for name, content in objects.items() if name.endswith("/pipeline.pb"))
    return Job(json.loads(objects[TEMPLATE]), beam_runner_api_pb2.Pipeline.FromString(graph), objects)


def chain(pipeline: beam_runner_api_pb2.Pipeline, first: str, last: str) -> list[beam_runner_api_pb2.PTransform]:
    """Returns the primitive transforms from step `first` to step `last`, both included, which must be one line.

    Raises:
      ValueError: a transform on the way has several inputs.
    """
    primitive = [step for step in pipeline.components.transforms.values() if not step.subtransforms and step.outputs]
    maker = {output: step for step in primitive for output in step.outputs.values()}
    (step,) = (step for step in primitive if step.unique_name.startswith(f"{last}/"))
    line = [step]
    while not step.unique_name.startswith(f"{first}/"):
        if len(step.inputs) != 1:
            raise ValueError(f"{step.unique_name} has {len(step.inputs)} inputs, expected one")
        step = maker[next(iter(step.inputs.values()))]
        line.append(step)
    return line[::-1]


def describe(job: Job) -> dict[str, Any]:
    """Returns what matters of a job: what it asks for, and the steps that must stay one stage."""
    environment = job.request["environment"]
    (pool,) = environment["workerPools"]
    components = job.pipeline.components
    line = chain(job.pipeline, "ReadShard", "WriteShard")
    hints = [dict(components.environments[step.environment_id].resource_hints) for step in line]
    steps = [step for step in components.transforms.values() if not step.subtransforms]
    return {
        "container image": pool["workerHarnessContainerImage"],
        "machine type": pool.get("machineType"),
        "disk GB": pool.get("diskSizeGb"),
        "threads per worker": pool.get("numThreadsPerWorker"),
        "workers at most": pool["autoscalingSettings"].get("maxNumWorkers"),
        "service options": environment.get("serviceOptions", []),
        "experiments": sorted(environment["experiments"]),
        "packages": sorted(package["name"] for package in pool.get("packages", [])),
        "one stage": [f"{step.unique_name}: {step.spec.urn}" for step in line],
        "environments of the stage": len({step.environment_id for step in line}),
        "resource hints of the stage": sorted({name for found in hints for name in found}),
        "shuffles": sorted(step.unique_name for step in steps if step.spec.urn in (GROUP_BY_KEY, FLATTEN)),
    }


def main() -> None:
    for config in sys.argv[1:]:
        with emulated_storage() as bucket:
            print(config, json.dumps(describe(build(config, bucket)), indent=2), sep="\n")


if __name__ == "__main__":
    main()
