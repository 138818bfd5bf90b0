-- What came from a file, so that bringing the file in again adds nothing, not even what was deleted since.
create table imported_posts (
    source_id bigint primary key,
    post_id bigint unique references posts (id) on delete set null
);
