drop function fell_since;
drop trigger note_fall on post_ranks;
drop function note_fall;
alter table post_ranks drop column fell_at, drop column fell_in, drop column fell_from;
