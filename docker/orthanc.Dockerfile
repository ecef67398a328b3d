# Orthanc from Debian, with DICOMweb, the JPEG 2000 decoder, and Firstread's doorbell.
ARG DEBIAN_IMAGE=debian:bookworm-slim
FROM ${DEBIAN_IMAGE}
# The package keeps a user of that name that it finds; a fixed number keeps the volume's owner the same for ever.
RUN groupadd --system --gid 10001 orthanc \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/orthanc --no-create-home orthanc \
    && apt-get update \
    && apt-get install --yes --no-install-recommends curl orthanc orthanc-dicomweb orthanc-gdcm orthanc-python \
    && rm -rf /var/lib/apt/lists/*
COPY orthanc/orthanc.json orthanc/plugin.py orthanc/find_in_order.py docker/orthanc.sh /etc/firstread/
RUN install --directory /etc/firstread/site
ENV ORTHANC_STORAGE=/var/lib/orthanc ORTHANC_PLUGIN=/etc/firstread/plugin.py
USER 10001:10001
VOLUME /var/lib/orthanc
EXPOSE 4242 8042
ENTRYPOINT ["sh", "/etc/firstread/orthanc.sh"]
