-- pg_trgm stays: it may have been there before us, and others may use it.
drop function search_query;
drop function search_document;
drop index if exists posts_title_trgm_idx;
drop table post_search;
