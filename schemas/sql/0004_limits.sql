-- Limits: quarters of an hour in which calls are booked: a row is held while the bookings in it are
-- counted. And how often a customer chose another time.
create table slot (
  queue text not null,
  start_at bigint not null,
  created_at bigint not null,
  primary key (queue, start_at)
);
create index request_due on request (queue, due_at) where open = 1 and due_at is not null;
alter table request add column moved bigint not null default 0;

-- What the calls of a day (UTC) take of a trunk; null: no limit. Costs are ten-thousandths.
alter table trunk add column minutes_max bigint;
alter table trunk add column cost_max bigint;
alter table trunk add column day bigint not null default 0;
alter table trunk add column minutes_used bigint not null default 0;
alter table trunk add column cost_used bigint not null default 0;
alter table attempt add column price bigint not null default 0;

-- Where requests came from that troubled others; nothing more is taken from there.
create table quarantine (
  source text primary key,
  until bigint not null,
  created_at bigint not null
);
