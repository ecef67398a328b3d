# A machine of Debian 12 with systemd, onto which Firstread is installed as docs/operations.md says.
ARG DEBIAN
FROM ${DEBIAN}
RUN echo 'APT::Get::Assume-Yes "true"; APT::Install-Recommends "false";' > /etc/apt/apt.conf.d/90unattended \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install systemd systemd-sysv dbus procps
WORKDIR /source
COPY install.sh /
COPY source .
RUN DEBIAN_FRONTEND=noninteractive sh -ex /install.sh
# A container may not be allowed what Debian's unit of Redis asks for.
RUN install --directory /etc/systemd/system/redis-server.service.d \
    && printf '[Service]\nPrivateUsers=no\n' > /etc/systemd/system/redis-server.service.d/container.conf
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
