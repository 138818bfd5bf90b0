-- The indexes, as the migrations define them, and statistics for the planner.
\set ON_ERROR_STOP 1
set maintenance_work_mem = '1GB';
select definition from bench.indexes
\gexec
drop schema bench cascade;
select setval(pg_get_serial_sequence('users', 'id'), max(id)) from users;
select setval(pg_get_serial_sequence('posts', 'id'), max(id)) from posts;
vacuum analyze;
