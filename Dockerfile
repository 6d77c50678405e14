# Three images from one file: `make image`, or  docker build --target operator|sidecar|compressor .
#   operator    no TensorFlow: Kopf, the Kubernetes client
#   sidecar     no TensorFlow: cache, limiter and proxy; also `modelpress fetch`
#   compressor  TensorFlow, tensorflow-serving-api: both Jobs; GPU build: --build-arg ACCELERATOR=gpu
# All run as user 65532 on a read-only root; only /tmp and mounted volumes are written.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY operator operator

FROM build AS build-operator
RUN python3 -m venv /opt/modelpress \
 && /opt/modelpress/bin/pip install --constraint constraints.txt '.[operator]'

# What every request passes is compiled; the compiler stays in this stage.
FROM build AS build-sidecar
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
RUN python3 -m venv /opt/modelpress \
 && HATCH_BUILD_HOOKS_ENABLE=1 /opt/modelpress/bin/pip install --constraint constraints.txt '.[sidecar,remote,tracing]'

FROM build AS build-compressor
ARG ACCELERATOR=cpu
RUN python3 -m venv /opt/modelpress \
 && /opt/modelpress/bin/pip install --constraint constraints.txt '.[compress,remote]' \
 && if [ "$ACCELERATOR" = gpu ]; then /opt/modelpress/bin/pip install 'tensorflow[and-cuda]==2.20.0'; fi

FROM ${BASE} AS runtime
ENV PATH=/opt/modelpress/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
ENTRYPOINT ["modelpress"]

FROM runtime AS operator
COPY --from=build-operator /opt/modelpress /opt/modelpress
CMD ["operator"]

FROM runtime AS sidecar
COPY --from=build-sidecar /opt/modelpress /opt/modelpress
CMD ["sidecar"]

FROM runtime AS compressor
ENV TF_CPP_MIN_LOG_LEVEL=2
COPY --from=build-compressor /opt/modelpress /opt/modelpress
CMD ["compress"]
