# The image of Dataflow's GPU workers, and of the launcher of the flex template: TensorFlow with CUDA, and cambeam.
#
#   docker build --tag REGION-docker.pkg.dev/PROJECT/REPOSITORY/cambeam:0.1.0 .
#   gcloud builds submit --tag REGION-docker.pkg.dev/PROJECT/REPOSITORY/cambeam:0.1.0     (without Docker)
#
# The version of Beam must be that of its worker program (boot) and that of the machine which submits the job.
ARG BEAM_VERSION=2.77.0
FROM apache/beam_python3.11_sdk:${BEAM_VERSION} AS beam
FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:latest AS template_launcher

# CUDA comes with TensorFlow's wheels, in the versions it was built with; a CUDA base image would bring a second set, and
# another Python. Of the GPU's host come the driver and its libraries, in the folders below.
FROM python:3.11-slim
ARG BEAM_VERSION
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64 \
    PATH=/usr/local/nvidia/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    TF_CPP_MIN_LOG_LEVEL=2
COPY --from=beam /opt/apache/beam /opt/apache/beam
COPY --from=template_launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/

WORKDIR /cambeam
# the large and slow part first, so that a change of cambeam does not download it again
RUN pip install "apache-beam[gcp]==${BEAM_VERSION}" 'tensorflow[and-cuda]>=2.21,<3'
COPY . .
RUN pip install "apache-beam==${BEAM_VERSION}" '.[gcp,cuda]' && pip check

# No USER: Dataflow mounts the folders that boot writes to as root's. Elsewhere, with nothing to install at start, the
# image runs as anybody: docker run --user 1000 --env RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 ... --worker_pool
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/cambeam/flex_template/launch.py
ENTRYPOINT ["/opt/apache/beam/boot"]
