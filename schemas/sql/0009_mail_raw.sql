-- The bytes of mail apart from its state: a row is written anew with each step, bytes once.
create table mail_raw (
  id text primary key,
  raw bytea not null
);
insert into mail_raw (id, raw) select id, raw from mail_in where raw is not null;
alter table mail_in drop column raw;
