-- A search looks at the newest days first and stops at enough matches, so a common word costs what a rare one does.

-- The day of a post and the 10, 100 and 1,000 days around it, so that few names cover any stretch of time.
-- No integers: the extension intarray, where somebody has it, takes their && for its own.
create function search_spans(created_at timestamptz) returns text[]
    language sql immutable strict parallel safe
    return array[
        '1:' || floor(extract(epoch from created_at - timestamptz '2000-01-01 00:00:00+00') / 86400),
        '10:' || floor(extract(epoch from created_at - timestamptz '2000-01-01 00:00:00+00') / 864000),
        '100:' || floor(extract(epoch from created_at - timestamptz '2000-01-01 00:00:00+00') / 8640000),
        '1000:' || floor(extract(epoch from created_at - timestamptz '2000-01-01 00:00:00+00') / 86400000)];

create function search_day(created_at timestamptz) returns int
    language sql immutable strict parallel safe
    return floor(extract(epoch from created_at - timestamptz '2000-01-01 00:00:00+00') / 86400);

create index post_search_spans_idx on post_search using gin (document, search_spans(created_at)) with (fastupdate = off);
drop index post_search_document_idx;

-- The fewest spans that make up these days, both ends included.
create function search_cover(oldest int, newest int) returns text[]
    language plpgsql immutable strict parallel safe as $$
declare
    covered text[] := '{}';
    size int;
begin
    while newest >= oldest loop
        size := 1000;
        while size > 1 and ((newest::bigint + 1) % size <> 0 or newest::bigint - size + 1 < oldest) loop
            size := size / 10;
        end loop;
        covered := covered || (size || ':' || floor(newest::numeric / size));
        newest := newest - size;
    end loop;
    return covered;
end
$$;

-- The newest posts that match, newest first, at most `wanted` of them, all older than (`before`, `before_id`).
--
-- Band after band of days, from the newest `near` posts on; each as wide as the matches so far make it likely
-- to be enough. What bands there are changes how long it takes, never what is found.
create function search_newest(asked tsquery, wanted bigint, before double precision, before_id bigint,
    author bigint, near bigint)
    returns table (post_id bigint, created_at timestamptz, document tsvector)
    -- Not parallel safe: to start helpers takes longer than anything here, found or not.
    language plpgsql stable rows 1000
    -- A plan for these very words would trust what it knows of them, and read the whole table for a common one.
    set plan_cache_mode = force_generic_plan
    as $$
declare
    newest int := (select search_day(r.created_at) from post_ranks r
        where r.created_at <= to_timestamp(before) order by r.created_at desc limit 1);
    oldest int := (select search_day(r.created_at) from post_ranks r order by r.created_at limit 1);
    -- The band is from here to `until`.
    since int := coalesce((select search_day(r.created_at) from post_ranks r
        where r.created_at <= to_timestamp(before) order by r.created_at desc offset near limit 1), oldest);
    until int := newest;
    spans text[];
    found_now bigint;
    missing bigint := wanted;
begin
    while until >= oldest and missing > 0 loop
        spans := search_cover(since, until);
        return query
            select s.post_id, s.created_at, s.document
            from post_search s
            where s.document @@ asked and search_spans(s.created_at) && spans
                and (extract(epoch from s.created_at)::float8, s.post_id) < (before, before_id)
                and (author is null or exists (
                    select from posts p where p.id = s.post_id and p.author_id = author))
            order by s.created_at desc, s.post_id desc
            limit missing;
        get diagnostics found_now = row_count;
        missing := missing - found_now;
        until := since - 1;
        since := greatest(oldest, since
            - ceil((newest - since + 1) * least(greatest(2.0 * missing / (wanted - missing + 1), 2), 50))::bigint);
    end loop;
end
$$;
