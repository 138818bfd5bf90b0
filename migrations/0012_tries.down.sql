-- The columns stay until their table goes: a program that still runs reads them.
drop index users_hash_kind_idx;
drop index password_tries_login_idx;
drop index password_tries_network_idx;
