# Copyright The maildomain-operator Authors.
# SPDX-License-Identifier: Apache-2.0
#
# One build stage, two images, each one static binary:
#   docker build --target manager -t maildomain-operator .
#   docker build --target milter  -t maildomain-milter .
ARG GO_VERSION=1.26
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/manager ./cmd/milter

# distroless/static: CA certificates for the providers' APIs and tzdata for rotation schedules, no shell.
FROM gcr.io/distroless/static:nonroot AS milter
COPY --from=build /out/milter /milter
USER 65532:65532
ENTRYPOINT ["/milter"]

FROM gcr.io/distroless/static:nonroot AS manager
COPY --from=build /out/manager /manager
USER 65532:65532
ENTRYPOINT ["/manager"]
