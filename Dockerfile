# The operator's image: one static binary and nothing else.
#
#   docker build -t ocm-controller .
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --release --locked --target x86_64-unknown-linux-gnu

FROM scratch
COPY --from=build /src/target/x86_64-unknown-linux-gnu/release/ocm-controller /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
CMD ["run"]
