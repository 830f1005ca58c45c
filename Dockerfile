# The operator's image: one static binary and nothing else.
#
#   docker build -t ocm-controller:0.1.0 .
#
# builds it from source, for the architecture of the builder (amd64 and arm64 alike). With a binary
# that was built outside, as `make binary` does, neither an engine nor a base image is needed:
#
#   buildah build --target prebuilt --timestamp 0 -t ocm-controller:0.1.0 -f Dockerfile target/image

FROM scratch AS base
USER 65532:65532
ENTRYPOINT ["/manager"]
CMD ["run"]

# The context is a folder that holds the binary.
FROM base AS prebuilt
COPY ocm-controller /manager

FROM docker.io/library/rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The same source makes the same bytes, wherever it lies. glibc's libc.a finds names by itself.
ENV SOURCE_DATE_EPOCH=0
RUN host=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$CARGO_HOME=/cargo" \
    cargo build --release --locked --bin ocm-controller --target "$host" \
 && cp "target/$host/release/ocm-controller" /ocm-controller

FROM base
COPY --from=build /ocm-controller /manager
