-- Which form, or which try of a program, made which post: sent twice, it makes one. Forgotten after a day.
create table publish_keys (
    author_id bigint not null references users (id) on delete cascade,
    key uuid not null,
    post_id bigint not null references posts (id) on delete cascade,
    created_at timestamptz not null default now(),
    primary key (author_id, key)
);

create index publish_keys_post_id_idx on publish_keys (post_id);
create index publish_keys_created_at_idx on publish_keys (created_at);
