# Ends the tests' cluster when nobody is there any more. Whoever uses it holds advisory lock 1
# together with the others, and loses it however he ends; so when we get it alone, all are gone.
# Ends itself when the cluster is gone. Started with PGHOST, PGUSER, PGDATA and PATH set.

trap '' HUP INT
while sleep 15; do
    psql -XqAt -v ON_ERROR_STOP=1 <<'SQL' || exit 0
select pg_try_advisory_lock(1) as alone \gset
\if :alone
    \! pg_ctl stop -s -m fast
    select 1; -- fails, and with it the loop ends
\endif
SQL
done
