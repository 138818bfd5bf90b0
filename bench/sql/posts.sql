-- The posts from `first` to `last` of `posts`, with their ranks, search entries and votes.
\set ON_ERROR_STOP 1
-- All references are valid by construction, so no trigger has to check them.
set session_replication_role = replica;
set synchronous_commit = off;
begin;

-- A name that about five posts share at any size, such as `kalomirun`.
insert into posts (id, author_id, title, url, body, body_html, excerpt, created_at)
select id, author_id, title, url, first || E'\n\n' || second,
    '<p>' || first || E'</p>\n<p>' || second || E'</p>\n',
    regexp_replace(left(first || ' ' || second, 219), '\s\S*$', '') || '…', created_at
from (
    select id, 1 + (:users * power(bench.dice(id, 1, 1000000) / 1e6::float8, 1.7))::bigint % :users as author_id,
        initcap(a.text) || ' ' || b.text as title,
        case when bench.dice(id, 2, 2) = 0 then 'https://' || split_part(a.text, ' ', 1) || '.example/' || id end as url,
        (select string_agg(text, ' ') from bench.sentences
            where i = any (array(select bench.dice(id, 10 + k::int, 20000)::int from generate_series(1, 2 + bench.dice(id, 3, 3)) k)))
            || ' ' || (select string_agg((array['ka', 'lo', 'mi', 'ru', 'se', 'ta', 'vo', 'ne', 'pi', 'du'])[1 + (person / (10 ^ k)::bigint % 10)::int], '')
                from generate_series(0, 5) k) || 'n.' as first,
        (select string_agg(text, ' ') from bench.sentences
            where i = any (array(select bench.dice(id, 20 + k::int, 20000)::int from generate_series(1, 4 + bench.dice(id, 4, 4)) k))) as second,
        :'now'::timestamptz - interval '730 days' * (1 - id::float8 / :posts) as created_at
    from (
        select id, bench.dice(id, 5, greatest(:posts / 5, 1)) as person
        from generate_series(:first::bigint, :last::bigint) id
    ) numbered
    join bench.titles a on a.i = bench.dice(id, 6, 10000)
    join bench.titles b on b.i = bench.dice(id, 7, 10000)
) made;

-- A power law, its ranks scattered over the posts; no post has votes from more than nine tenths of all people.
insert into post_ranks (post_id, score, hot, created_at)
select id, score, hot_rank(score, created_at), created_at
from (
    select id, created_at, least(4 * power(:posts::float8, 0.6) * power((1 + id * :stride % :posts)::float8, -0.6), 0.9 * :users)::bigint as score
    from posts where id between :first and :last
) ranked;

insert into post_search (post_id, created_at, document)
select id, created_at, search_document(title, body) from posts where id between :first and :last;

-- The step shares no divisor with the number of people, so nobody votes twice.
insert into votes (post_id, user_id)
select post_id, 1 + (bench.dice(post_id, 8, :users) + k * :stride) % :users
from post_ranks, generate_series(1, score) k
where post_id between :first and :last;
commit;
