# The serving image: ONNX Runtime, the server, its locked dependencies. No pip, no converters, no pickle loader.
#
#   docker build -t onnxpress .
#   docker run --read-only --tmpfs /tmp --stop-timeout 30 -p 8001:8001 -p 8002:8002 -v "$PWD/models:/models" onnxpress
#
# /models must be writable for uid 10001, since deployments and the audit log are kept there. Where it is mounted
# read-only, name a state folder; deploys are then refused:
#   docker run ... -v "$PWD/models:/models:ro" -v onnxpress-state:/state onnxpress \
#       serve --repository /models --state-dir /state
# The admin port listens on loopback of the container: docker exec NAME onnxpress deploy churn 2
# Every setting is also a variable ONNXPRESS_<NAME>; `docker run onnxpress serve --help` lists them.

# Pin the bases by digest for reproducible builds: --build-arg BASE=...@sha256:... --build-arg BUILD_BASE=...
ARG BASE=docker.io/library/python:3.11-slim-bookworm
# The same Python with a C compiler, for the kernel of compiled forests. It uses no instructions that only some x86-64
# processors have, so the image may be built on another machine than it runs on.
ARG BUILD_BASE=docker.io/library/python:3.11-bookworm

FROM ${BUILD_BASE} AS build
WORKDIR /build
COPY image/build.lock image/requirements.lock ./
# Two environments: one with the tools that install, and one that ships without them.
RUN python3.11 -m venv tools \
 && tools/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r build.lock \
 && python3.11 -m venv --without-pip /opt/onnxpress \
 && tools/bin/python -m pip --python /opt/onnxpress/bin/python install --no-cache-dir --no-deps \
        --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE source/
COPY onnxpress source/onnxpress
COPY client source/client
COPY packages source/packages
COPY protos source/protos
COPY server source/server
# `pip check` fails the build when the lock file has fallen behind pyproject.toml; the import, when the kernel is missing.
RUN tools/bin/python -m pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation -w wheels ./source \
 && tools/bin/python -m pip --python /opt/onnxpress/bin/python install --no-cache-dir --no-index --no-deps wheels/*.whl \
 && tools/bin/python -m pip --python /opt/onnxpress/bin/python check \
 && /opt/onnxpress/bin/python -c 'from onnxpress.packages.forest import _kernel'
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin onnxpress \
 && install -d -o onnxpress -g onnxpress image/models image/state

# No command runs in this stage, so it holds only what is copied.
FROM ${BASE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="onnxpress" \
      org.opencontainers.image.description="Serves and hot-swaps ONNX models over gRPC" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/onnxpress/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /etc/passwd /etc/group /etc/
COPY --from=build --chown=10001:10001 /build/image/ /
COPY --from=build /opt/onnxpress /opt/onnxpress
# A number, so that Kubernetes' runAsNonRoot can check it.
USER 10001:10001
EXPOSE 8001 8002
# SIGTERM drains: health turns NOT_SERVING, held work finishes, exit 0. Give it drain_wait_s + drain_finish_s + 5 s.
STOPSIGNAL SIGTERM
# Failures do not count in the start period, while a large repository is loaded and warmed up.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; probe = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('ONNXPRESS_HTTP_PORT', 8002)), timeout=2); probe.request('GET', '/readyz'); sys.exit(probe.getresponse().status != 200)"]
ENTRYPOINT ["onnxpress"]
CMD ["serve", "--repository", "/models"]
