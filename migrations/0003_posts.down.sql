drop function hot_rank;
drop table post_ranks;
drop table posts;
