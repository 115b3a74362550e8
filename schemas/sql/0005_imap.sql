-- Mail fetched from mailboxes: when it came there, its key there, and whether it was put aside.
alter table mail_in add column via text not null default 'smtp';
alter table mail_in add column received_at bigint;
alter table mail_in add column mailbox text;
alter table mail_in add column uid_validity bigint;
alter table mail_in add column uid bigint;
alter table mail_in add column put_aside bigint not null default 0;
create unique index mail_in_uid on mail_in (mailbox, uid_validity, uid) where mailbox is not null;
create index mail_in_fetched on mail_in (mailbox, uid_validity)
  where mailbox is not null and put_aside = 0;

-- Which node looks after a mailbox; one at a time.
create table mailbox_watch (
  name text primary key,
  node text not null,
  lease_until bigint not null,
  created_at bigint not null
);

-- The spool in the order in which it is worked on, and how much waits: neither reads a message.
drop index mail_in_next;
create index mail_in_next on mail_in (attempts, created_at, id)
  where state in ('spooled', 'working');
create index mail_in_waiting on mail_in (size_bytes) where state in ('spooled', 'working');
