drop table user_sessions;
drop table tower_sessions.session;
drop schema tower_sessions;
