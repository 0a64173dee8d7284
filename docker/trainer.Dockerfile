# syntax=docker/dockerfile:1
# Worker, fine-tuning and base training on NVIDIA GPUs. Build from the repository's root:
#   docker build -f docker/trainer.Dockerfile -t nuwa-search:trainer .
# With TensorRT's Python API, to build engines in it: --build-arg EXTRAS=postgres,ssh,tensorrt

# torch's wheels bring their own CUDA libraries; the base says which driver they need (CUDA 13: 580 or newer).
FROM nvidia/cuda:13.0.2-base-ubuntu24.04
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
ARG EXTRAS=postgres,ssh
# gcc and Python's headers: torch.compile builds its launchers with them
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libgomp1 python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home nuwa \
    && install -d -o nuwa -g nuwa /data \
    && python3 -m venv /opt/nuwa
WORKDIR /src
COPY docker/constraints.txt docker/constraints.txt
RUN /opt/nuwa/bin/pip install --constraint docker/constraints.txt torch torchvision
COPY pyproject.toml setup.py README.md LICENSE ./
COPY nuwa_search nuwa_search
COPY core core
COPY store store
COPY deploy deploy
COPY latency latency
COPY predictors predictors
COPY search search
COPY service service
RUN /opt/nuwa/bin/pip install --constraint docker/constraints.txt ".[$EXTRAS]"
ENV PATH=/opt/nuwa/bin:$PATH PYTHONUNBUFFERED=1 NUWA_CACHE_DIR=/data/cache
USER 10001
WORKDIR /data
VOLUME /data
# A worker without its database can do nothing; the GPU is looked at by `nuwa doctor cuda`, which loads torch.
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 CMD ["nuwa", "db", "check", "--json"]
ENTRYPOINT ["nuwa"]
CMD ["worker"]
