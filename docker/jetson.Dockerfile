# syntax=docker/dockerfile:1
# Builds a bundle's engine on a Jetson with JetPack 4.6 (L4T 32.7), and runs it there. Build on the board, or
# for linux/arm64:
#   docker build -f docker/jetson.Dockerfile -t nuwa-search:jetson docker
#   docker run --rm --runtime nvidia --user "$(id -u)" --group-add video -v "$PWD/bundle:/bundle" nuwa-search:jetson
# CUDA, TensorRT 8.2, its trtexec and its Python module are the board's own: NVIDIA's container runtime
# mounts them. Nothing of this repository is installed, for a bundle holds all it needs.

FROM nvcr.io/nvidia/l4t-base:r32.7.1
ENV DEBIAN_FRONTEND=noninteractive
# for run.py: labels and latency of images
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-numpy python3-pil \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --groups video nuwa \
    && install -d -o nuwa -g nuwa /bundle
USER 10001
WORKDIR /bundle
VOLUME /bundle
# Not there: the container was started without `--runtime nvidia`, or TensorRT is not installed on the board.
HEALTHCHECK --interval=60s --timeout=5s --retries=1 CMD ["test", "-x", "/usr/src/tensorrt/bin/trtexec"]
CMD ["sh", "build.sh"]
