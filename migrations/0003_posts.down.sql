drop function hot_rank;
drop table post_ranks;
drop table posts;
-- What 0009 leaves behind.
drop function if exists fell_since;
