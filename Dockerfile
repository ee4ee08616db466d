# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Three images of one binary each:
#   docker build --target manager         -t maildomain-operator .
#   docker build --target milter          -t maildomain-milter .            RSA by OpenSSL
#   docker build --target milter-portable -t maildomain-milter:portable .   static, RSA by Go
ARG GO_VERSION=1.26
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/manager ./cmd/milter

# On the target's own platform, since C is compiled here; and of the Debian release of the image below: a binary that was
# linked to a newer glibc does not start on an older one. OpenSSL's headers are not needed: it is loaded at run time.
FROM golang:${GO_VERSION}-bookworm AS build-openssl
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=1 \
    go build -tags openssl -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/milter

# distroless/static: CA certificates for the providers' APIs and tzdata for rotation schedules, no shell.
FROM gcr.io/distroless/static:nonroot AS milter-portable
COPY --from=build /out/milter /milter
USER 65532:65532
ENTRYPOINT ["/milter"]

FROM gcr.io/distroless/static:nonroot AS manager
COPY --from=build /out/manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]

# distroless/base: glibc and libcrypto of Debian 12, no shell.
FROM gcr.io/distroless/base-debian12:nonroot AS milter
COPY --from=build-openssl /out/milter /milter
USER 65532:65532
ENTRYPOINT ["/milter"]
