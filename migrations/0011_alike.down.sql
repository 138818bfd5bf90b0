create index posts_title_trgm_idx on posts using gin (title gin_trgm_ops);
drop index posts_title_spans_idx;
