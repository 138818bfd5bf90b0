-- Removes what an earlier run added: all people above `users`, and what they did.
\set ON_ERROR_STOP 1
set synchronous_commit = off;
begin;
with gone as (
    select post_id, count(*) as votes from votes where user_id > :users group by post_id
)
update post_ranks r set score = r.score - gone.votes, hot = hot_rank(r.score - gone.votes, r.created_at)
from gone where gone.post_id = r.post_id;
delete from votes where user_id > :users;
delete from users where id > :users;
delete from tower_sessions.session;
delete from password_tries;
commit;
vacuum analyze;
