# An image with nothing in it but blobd: no shell, no user database, a health check of its own.
#   make release PLATFORMS=linux/amd64 && docker build -t blobd .
FROM scratch
ARG TARGETARCH=amd64
COPY dist/blobd-linux-${TARGETARCH} /blobd
COPY --chown=65532:65532 release/data /data
USER 65532:65532
VOLUME /data
EXPOSE 10000 10002 10010
ENV BLOBD_DATA=/data/blobd BLOBD_BLOB_ADDR=0.0.0.0:10000 BLOBD_TABLE_ADDR=0.0.0.0:10002 BLOBD_MANAGEMENT_ADDR=0.0.0.0:10010
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["/blobd", "health"]
ENTRYPOINT ["/blobd"]
