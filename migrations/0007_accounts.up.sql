-- What an account needs beside a name: an address that was proven, links sent by mail, and how often somebody tried to get in.
alter table users add column email_confirmed_at timestamptz;

-- One for each person and purpose, so that a newer one voids the older. Only hashes of the links are kept.
create table mailed_links (
    user_id bigint not null references users (id) on delete cascade,
    purpose text not null check (purpose in ('password', 'email')),
    key text not null unique,
    -- The address that following the link proves, as written and canonical; none for a password.
    email text,
    email_key text,
    created_at timestamptz not null default now(),
    primary key (user_id, purpose),
    check ((purpose = 'email') = (email is not null) and (email is null) = (email_key is null))
);

-- Devices on which somebody has logged in: strangers who guess at an account do not lock these out.
create table known_devices (
    user_id bigint not null references users (id) on delete cascade,
    key text not null,
    seen_at timestamptz not null default now(),
    primary key (user_id, key)
);

-- Tries at the password of one account (or of a name that nobody has), or from one known device. Gone with the first that was right.
create table password_tries (
    key text primary key,
    tries integer not null,
    -- When the next one may come.
    free_at timestamptz not null
);

create index password_tries_free_at_idx on password_tries (free_at);
