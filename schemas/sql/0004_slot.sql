-- Quarters of an hour in which calls are booked: a row is held while the bookings in it are
-- counted. And how often a customer chose another time.
create table slot (
  queue text not null,
  start_at bigint not null,
  created_at bigint not null,
  primary key (queue, start_at)
);
create index request_due on request (queue, due_at) where open = 1 and due_at is not null;
alter table request add column moved bigint not null default 0;
