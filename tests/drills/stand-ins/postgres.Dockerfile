# For tests/drills/compose, in place of the official image of that name.
FROM localhost/base
RUN apt-get -qq update && apt-get -qq install --no-install-recommends --yes postgresql-common > /dev/null \
    && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf \
    && apt-get -qq install --no-install-recommends --yes postgresql-15 > /dev/null
COPY postgres-entrypoint /
ENV LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENTRYPOINT ["/postgres-entrypoint"]
CMD ["postgres"]
