-- Which posts fell, from where and when: whoever reads a list page by page is not shown them again further down.
alter table post_ranks
    add column if not exists fell_at timestamptz,
    -- The transaction of the last fall. A clock would not do: a vote counts when it commits, not when it began.
    add column if not exists fell_in xid8,
    -- The most votes it had before falls that are less than a day apart.
    add column if not exists fell_from bigint;

create or replace function note_fall() returns trigger language plpgsql as $$
begin
    new.fell_from := case when old.fell_at > now() - interval '1 day' then greatest(old.score, old.fell_from) else old.score end;
    new.fell_at := now();
    new.fell_in := pg_current_xact_id();
    return new;
end
$$;

create trigger note_fall before update on post_ranks
    for each row when (new.score < old.score) execute function note_fall();

-- Whether a row fell after somebody had seen the database in that state; null or false where it did not.
-- What this cluster has not reached yet came with a dump of another, whose numbers say nothing here.
create or replace function fell_since(fell_in xid8, seen pg_snapshot) returns boolean
    language sql stable parallel safe
    return not pg_visible_in_snapshot(fell_in, seen) and pg_visible_in_snapshot(fell_in, pg_current_snapshot());
