-- Our own mail is signed, so that answers and bounces name it. The key is made once and is the
-- same for every daemon here, unless the operator gives one.
create table mail_key (
  id bigint primary key check (id = 1),
  secret text not null,
  created_at bigint not null
);

-- A mail that was sent and came back, and with which status; and that mail does not reach the
-- customer of a request, who is called all the same.
alter table outbox add column bounced text;
alter table request add column mail_failed text;

-- Addresses that do not exist: no mail goes there for a time.
create table mail_suppress (
  address_hash text primary key,
  status text not null,
  until bigint not null,
  created_at bigint not null
);

-- A request by the tag in a subject, which is made of the end of its id; and mail about it.
create index request_tag on request (substr(id, 30));
create index mail_in_request on mail_in (request_id) where request_id is not null;
