drop function search_query;
drop function search_document;
drop index posts_title_trgm_idx;
drop table post_search;
drop extension pg_trgm;
