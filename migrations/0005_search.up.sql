-- Full text, in a table of its own: as a column of posts it would make every row four times larger.
create extension if not exists pg_trgm;

create table post_search (
    post_id bigint primary key references posts (id) on delete cascade,
    created_at timestamptz not null,
    document tsvector not null
) with (toast_tuple_target = 128);

-- There is no index by date here on purpose: a search for a word that is nowhere would walk all of it.
create index post_search_document_idx on post_search using gin (document) with (fastupdate = off);

-- Typing errors: when no text matches, titles that look alike do.
create index posts_title_trgm_idx on posts using gin (title gin_trgm_ops);

-- English stems, and every word as it stands, so that names and other languages are found too.
create function search_document(title text, body text) returns tsvector
    language sql immutable strict parallel safe
    return setweight(to_tsvector('english', title), 'A')
        || setweight(to_tsvector('simple', title), 'A')
        || setweight(to_tsvector('english', body), 'B')
        || setweight(to_tsvector('simple', body), 'B');

create function search_query(words text) returns tsquery
    language sql immutable strict parallel safe
    return websearch_to_tsquery('english', words) || websearch_to_tsquery('simple', words);
