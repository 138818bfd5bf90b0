# The site in a container: the program, and pg_dump for its backups. It contains no Postgres; see compose.yaml.
# It runs as an unprivileged user, writes nothing to disk, and needs DATABASE_URL and BASE_URL.

ARG RUST=rust:1.95-bookworm
ARG NODE=node:22-bookworm-slim
ARG BASE=debian:bookworm-slim

FROM ${NODE} AS assets
WORKDIR /site
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM ${RUST} AS build
WORKDIR /site
COPY . .
COPY --from=assets /site/node_modules node_modules
# The queries are checked against .sqlx. Stripped, so a panic's backtrace has no function names.
RUN SQLX_OFFLINE=true cargo build --release --locked && strip -o /social-post target/release/social-post

# Two programs of this package are enough; the rest of it is larger than everything else in the image.
FROM ${BASE} AS client
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client-15

FROM ${BASE}
# CA certificates for mail servers, and the library that pg_dump is linked to.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libpq5 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
COPY --from=client /usr/lib/postgresql/15/bin/pg_dump /usr/lib/postgresql/15/bin/pg_restore /usr/lib/postgresql/15/bin/
COPY deploy/container/is-alive /usr/local/bin/
COPY --from=build /social-post /usr/local/bin/

ENV LISTEN_ADDR=0.0.0.0:8000
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
# Whether it is alive, not whether it is ready: a restart does not help a site whose database is down.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["is-alive"]
ENTRYPOINT ["social-post"]
CMD ["serve"]
