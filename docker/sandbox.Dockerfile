# A sandbox's base layer: git, git-lfs and credgate's side of a sandbox. Build yours FROM it, or name your own image (any
# Debian or Ubuntu) as BASE_IMAGE; behind a mirror that image's own package source is used. From the top of the tree:
#
#     docker build -f docker/sandbox.Dockerfile -t credgate-sandbox .
#
# Nothing here needs root at run time, nor a capability: the system's gitconfig includes a file that is not there, and the
# entry point, as the sandbox's own user, writes it when SANDBOX_GATEWAY_ENABLED is true.

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
