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

-- What the operator has to be told by mail: when it was so last, and when that was told.
create table alarm (
  cause text primary key,            -- quarantine budget mailbox:NAME
  detail text,
  noted_at bigint not null,
  told_at bigint
);
