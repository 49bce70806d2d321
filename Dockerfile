# The base needs Python 3.12 or later with venv. It has no digest here because one is only good for the registry
# that serves it: build with --build-arg BASE=registry.example.com/python:3.13-slim@sha256:... (docs/operations.md).
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
# `pipconf` is optional: a pip configuration for the build alone, for example --secret id=pipconf,src=/etc/pip.conf
RUN --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    python3 -m venv /build \
    && python3 -m venv --without-pip /opt/outgate \
    && /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.txt \
    && /build/bin/pip --python /opt/outgate/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
       -r requirements/runtime.txt
COPY . .
RUN /build/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /build/wheels . \
    && /build/bin/pip --python /opt/outgate/bin/python install --no-cache-dir --no-index --no-deps /build/wheels/*.whl \
    && cp packaging/healthcheck.py /opt/outgate/ \
    # Commands of other packages (mitmdump, flask) have no business in the image.
    && find /opt/outgate/bin -type f ! -name outgate -delete

FROM ${BASE}
LABEL org.opencontainers.image.title="outgate" \
      org.opencontainers.image.description="The one guarded way out of an AI agent's sandbox" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 outgate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/outgate --shell /usr/sbin/nologin outgate \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/outgate
COPY --from=build /opt/outgate /opt/outgate
# Bytecode is already compiled, and the root file system may be read-only: only the state folder is written.
ENV PATH=/opt/outgate/bin:$PATH \
    HOME=/var/lib/outgate \
    OUTGATE_STATE=/var/lib/outgate \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/outgate
VOLUME /var/lib/outgate
EXPOSE 8899
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/opt/outgate/bin/python", "-I", "/opt/outgate/healthcheck.py"]
ENTRYPOINT ["outgate"]
CMD ["serve", "--policy", "/policies", "--listen", "0.0.0.0:8899", "--state", "/var/lib/outgate"]
