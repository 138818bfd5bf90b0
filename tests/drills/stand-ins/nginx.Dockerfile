# For tests/drills/compose, in place of the official image of that name.
FROM localhost/base
RUN apt-get -qq update && apt-get -qq install --no-install-recommends --yes nginx-light > /dev/null && rm -r /var/lib/nginx \
    && ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
