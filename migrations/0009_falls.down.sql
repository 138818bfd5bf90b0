-- The columns and fell_since stay until the table goes: a program that still runs reads them, and the one
-- before this version does not mind.
drop trigger note_fall on post_ranks;
drop function note_fall;
