-- Who is logged in. The first table is the session library's; the second, ours, decides whose a session is.
create schema tower_sessions;

create table tower_sessions.session (
    id text primary key not null,
    data bytea not null,
    expiry_date timestamptz not null
);

create index session_expiry_date_idx on tower_sessions.session (expiry_date);

create table user_sessions (
    session_id text primary key references tower_sessions.session (id) on delete cascade,
    user_id bigint not null references users (id) on delete cascade,
    -- What a person sees of a session; it gives no right to it.
    handle uuid not null unique default gen_random_uuid(),
    user_agent text not null,
    created_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now()
);

create index user_sessions_user_id_idx on user_sessions (user_id, created_at);
create index user_sessions_last_seen_at_idx on user_sessions (last_seen_at);
