# syntax=docker/dockerfile:1
# HTTP API, page and CPU worker. Build from the repository's root:
#   docker build -f docker/service.Dockerfile -t nuwa-search:service .

FROM python:3.12.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# CPU wheels: the default ones bring CUDA libraries of several GB, which nothing here can use.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
RUN python -m venv /opt/nuwa
COPY docker/constraints.txt docker/constraints.txt
RUN /opt/nuwa/bin/pip install --constraint docker/constraints.txt --index-url "$TORCH_INDEX" torch torchvision
COPY pyproject.toml setup.py README.md LICENSE ./
COPY nuwa_search nuwa_search
COPY core core
COPY store store
COPY deploy deploy
COPY latency latency
COPY predictors predictors
COPY search search
COPY service service
RUN /opt/nuwa/bin/pip install --constraint docker/constraints.txt ".[serve,postgres,ssh,plot]"

FROM python:3.12.12-slim-bookworm
# OpenMP of onnxruntime and torch
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home nuwa \
    && install -d -o nuwa -g nuwa /data
COPY --from=build /opt/nuwa /opt/nuwa
ENV PATH=/opt/nuwa/bin:$PATH PYTHONUNBUFFERED=1 NUWA_CACHE_DIR=/data/cache
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["nuwa"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
