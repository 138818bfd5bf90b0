-- Password attempts are counted by log-in and network, so that attempts from one network delay nobody elsewhere.

-- The log-in and the network, hashed. No network: the count over all of them.
alter table password_tries add column if not exists login text;
alter table password_tries add column if not exists network text;
-- Whether the log-in is an e-mail address and not a user name.
alter table password_tries add column if not exists by_email boolean;

create index password_tries_network_idx on password_tries (network);
create index password_tries_login_idx on password_tries (login);

-- The algorithm and parameters of each hash, such as '$2b$12$' or '$argon2id$v=19$m=19456,t=2,p=1$': a failed
-- log-in looks up which there are, and does the work of each, so that its time tells nothing.
create index users_hash_kind_idx on users (substring(password_hash from '^\$2.\$..\$|^\$a[^$]*\$v[^$]*\$[^$]*\$'));
