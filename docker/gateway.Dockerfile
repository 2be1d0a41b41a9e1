# The gateway's image. Build it from the root of the source tree:
#
#     docker build -f docker/gateway.Dockerfile -t credgate .
#
# BASE_IMAGE is any Debian or Ubuntu with Python 3.11 or later and its venv; pin it by digest. With a mirror, use the
# mirror's image, and its package index with --build-arg PIP_INDEX_URL=... (and PIP_CERT for its CA). Neither is in the
# final image: they are arguments of the first stage, from which only files are copied.

ARG BASE_IMAGE=python:3.13-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL
ARG PIP_CERT
WORKDIR /src
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY credgate credgate
COPY twisted twisted
RUN python3 -m venv /opt/pip && /opt/pip/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /dist .
# Wheels only: nothing is compiled, so neither stage needs a compiler. Then Twisted writes its plugin cache, which it cannot
# do later on a read-only root. The cache must be newer than the plugins, and an image stores times in whole seconds.
RUN python3 -m venv --without-pip /opt/credgate \
    && /opt/pip/bin/pip --python /opt/credgate/bin/python install --no-cache-dir --only-binary :all: /dist/credgate-*.whl \
    && touch --date=@0 /opt/credgate/lib/python3*/site-packages/twisted/plugins/*.py \
    && /opt/credgate/bin/python -m compileall -q /opt/credgate/lib/python3*/site-packages/twisted/plugins \
    && /opt/credgate/bin/python -c "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))"

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="credgate" \
      org.opencontainers.image.description="The gateway that lets coding agents use git without ever holding a credential" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 credgate \
    && useradd --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin credgate \
    && install -d -m 0700 -o 10001 -g 10001 /run/credgate /var/lib/credgate
COPY --from=build /opt/credgate /opt/credgate
COPY docker/credgate.toml /etc/credgate/credgate.toml
COPY docker/healthcheck.py /opt/credgate/healthcheck.py
ENV PATH=/opt/credgate/bin:/usr/local/bin:/usr/bin:/bin \
    CREDGATE_SOCKET=/run/credgate/control.sock \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/credgate
EXPOSE 8080 53/udp 53/tcp
HEALTHCHECK --interval=10s --timeout=8s --start-period=10s --retries=3 CMD ["python", "/opt/credgate/healthcheck.py"]
ENTRYPOINT ["twistd", "-n", "--pidfile=", "credgate"]
CMD ["--config", "/etc/credgate/credgate.toml"]
