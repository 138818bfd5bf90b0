-- The building blocks of the posts, and no indexes yet. Needs `posts`, `users` and `words`.
\set ON_ERROR_STOP 1
create schema bench;

-- The same number for the same post and throw, so that parts of the data can be generated in parallel.
create function bench.dice(post bigint, throw int, sides bigint) returns bigint
    language sql immutable strict parallel safe
    return (hashint8extended(post, throw) & 9223372036854775807) % sides;

create unlogged table bench.words as
select (place - 1)::int as i, word from string_to_table(:'words', ' ') with ordinality as given (word, place);

-- Words by Zipf's law: the first is a tenth of all, the last one in some thousands.
create unlogged table bench.sentences as
with drawn as materialized (
    select i, place, exp(random() * ln((select count(*) from bench.words)))::int - 1 as word
    from generate_series(0, 19999) i, generate_series(1, 10 + i % 9) place
)
select drawn.i, upper(left(string_agg(w.word, ' ' order by place), 1))
    || substr(string_agg(w.word, ' ' order by place), 2) || '.' as text
from drawn join bench.words w on w.i = drawn.word
group by drawn.i;
alter table bench.sentences add primary key (i);

create unlogged table bench.titles as
with drawn as materialized (
    select i, place, exp(random() * ln((select count(*) from bench.words)))::int - 1 as word
    from generate_series(0, 9999) i, generate_series(1, 2 + i % 3) place
)
select drawn.i, string_agg(w.word, ' ' order by place) as text
from drawn join bench.words w on w.i = drawn.word
group by drawn.i;
alter table bench.titles add primary key (i);
analyze bench.words, bench.sentences, bench.titles;

insert into users (id, username, created_at)
select n, word || n, now() - interval '731 days'
from generate_series(1, :users::bigint) n join bench.words w on w.i = 50 + n % 500;

-- Created again from the same definitions when all rows are inserted.
create table bench.indexes as
select format('%I.%I', n.nspname, c.relname) as name, pg_get_indexdef(i.indexrelid) as definition
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
where i.indrelid in ('posts'::regclass, 'post_ranks'::regclass, 'post_search'::regclass, 'votes'::regclass)
    and not exists (select from pg_constraint k where k.conindid = i.indexrelid);
select 'drop index ' || name from bench.indexes
\gexec
