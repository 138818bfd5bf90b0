drop table imported_posts;
