drop table password_tries;
drop table known_devices;
drop table mailed_links;
alter table users drop column email_confirmed_at;
