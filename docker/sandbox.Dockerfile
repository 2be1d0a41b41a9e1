# The base image of sandboxes: git, git-lfs, and credgate's helpers. Build your images FROM it, or use your own image (any
# Debian or Ubuntu) as BASE_IMAGE; its package sources are used. Build it from the root of the source tree:
#
#     docker build -f docker/sandbox.Dockerfile -t credgate-sandbox .
#
# At run time it needs neither root nor a capability: the system's gitconfig includes a file that does not exist yet, and
# the entry point, which runs as the sandbox's user, creates it if SANDBOX_GATEWAY_ENABLED is true.

ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE}
ARG SANDBOX_USER=ubuntu
USER 0
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates git git-lfs \
    && rm -rf /var/lib/apt/lists/*
RUN { getent passwd 1000 > /dev/null || useradd --uid 1000 --user-group --create-home --shell /bin/sh "$SANDBOX_USER"; } \
    && install -d -m 0755 -o 1000 -g 1000 /run/credgate-sandbox /workspace \
    && install -d -m 0700 -o 1000 -g 1000 /run/secrets \
    && git config --system include.path /run/credgate-sandbox/gitconfig
COPY --chmod=0755 helpers/git-credential-credgate helpers/gateway-credential-helper helpers/credgate-sandbox /usr/local/bin/
COPY --chmod=0644 helpers/gitconfig.credgate /usr/local/share/credgate/
COPY --chmod=0755 docker/sandbox-entrypoint /usr/local/bin/
ENV CREDGATE_GITCONFIG=/run/credgate-sandbox/gitconfig
USER 1000:1000
WORKDIR /workspace
ENTRYPOINT ["sandbox-entrypoint"]
