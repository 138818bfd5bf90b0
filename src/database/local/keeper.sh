# Stops the tests' cluster when no test uses it. Each test process holds advisory lock 1 in shared
# mode, and loses it however it ends; so when we get it alone, all have ended.
# Exits when the cluster is gone. Started with PGHOST, PGUSER, PGDATA and PATH set.

trap '' HUP INT
while sleep 15; do
    psql -XqAt -v ON_ERROR_STOP=1 <<'SQL' || exit 0
select pg_try_advisory_lock(1) as alone \gset
\if :alone
    \! pg_ctl stop -s -m fast
    select 1; -- fails, which ends the loop
\endif
SQL
done
