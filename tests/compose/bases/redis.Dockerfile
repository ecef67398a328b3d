# As redis:7.2-bookworm, for what the Compose file uses of it: Debian 12's Redis.
ARG DEBIAN
FROM ${DEBIAN}
RUN groupadd --system --gid 999 redis \
    && useradd --system --uid 999 --gid 999 --home-dir /data --no-create-home redis \
    && apt-get update \
    && apt-get install --yes --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner redis --group redis /data
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
