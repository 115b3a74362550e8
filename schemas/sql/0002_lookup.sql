-- What calls look for: customers by address, and calls by the flow that served them.
create index request_email on request (email, created_at) where email is not null;
create index request_address on request (consent_address, created_at)
  where consent_address is not null;
alter table call_trace add column flow text not null default '';

-- Callers who wait in a line, by the same order as requests; a place is given up by null.
alter table inbound add column queue text;
alter table inbound add column place_at bigint;
alter table inbound add column stands text check (stands in ('waiting', 'served'));
alter table inbound add column served_at bigint;
create index inbound_line on inbound (queue, place_at) where live = 1 and stands = 'waiting';
