# The command alone: no shell, no libc, not root.
#
#   docker build -t millrace .
#   docker run --rm -p 8080:8080 millrace demo --http 0.0.0.0:8080

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/millrace ./cmd/millrace
RUN mkdir -p /out/state /out/tmp && chmod 1777 /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/millrace /millrace
COPY --from=build /src/LICENSE /src/NOTICE /
COPY --from=build --chown=65532:65532 /out/state /var/lib/millrace
COPY --from=build --chown=65532:65532 /out/tmp /tmp
ENV MILLRACE_STATE=/var/lib/millrace
VOLUME /var/lib/millrace
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/millrace"]
CMD ["version"]
