-- Who logged in to send a message.
alter table mail_in add column auth_user text;

-- The way into a mailbox by OAuth: both tokens of the last refresh, which belong together.
create table mailbox_token (
  name text primary key,
  client text not null,              -- hash of what the tokens were got with
  access_token text not null,
  refresh_token text not null,
  refresh_at bigint not null
);
