create index post_search_document_idx on post_search using gin (document) with (fastupdate = off);
drop function search_newest;
drop index post_search_spans_idx;
drop function search_cover, search_day, search_spans;
