-- One vote for each person and post: the key itself rules out a second one.
create table votes (
    post_id bigint not null references posts (id) on delete cascade,
    user_id bigint not null references users (id) on delete cascade,
    created_at timestamptz not null default now(),
    primary key (post_id, user_id)
);

-- For "which of these posts did I vote for".
create index votes_user_id_idx on votes (user_id, post_id);
