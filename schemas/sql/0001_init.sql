-- The durable line. One text for SQLite and PostgreSQL 15: text and bigint columns
-- (bytea for mail bytes alone), times are UTC milliseconds, ids are UUIDv7 text,
-- flags are 0 or 1. The view "clock" is made by the store when it opens.

-- One incarnation of a daemon; requests it works on name it as their owner.
create table node (
  id text primary key,
  state text not null check (state in ('alive', 'dead')),
  lease_until bigint not null,
  started_at bigint not null
);

create table request (
  id text primary key,
  queue text not null,
  state text not null check (state in ('waiting', 'scheduled', 'leased', 'dialling', 'answered',
    'connected', 'backoff', 'held', 'done', 'cancelled', 'merged', 'expired', 'unreachable',
    'suppressed', 'refused', 'settled_inbound')),
  open bigint not null check ((state in ('done', 'cancelled', 'merged', 'expired', 'unreachable',
    'suppressed', 'refused', 'settled_inbound')) = (open = 0)),
  held_reason text,
  rank bigint not null default 1,
  place_at bigint not null,
  not_before bigint not null,
  due_at bigint,
  not_after bigint,
  number text not null,
  channel text not null,
  name text,
  email text,
  page text,
  note text,
  language text not null,
  zone text,
  token text not null unique,
  ack_json text,                     -- whom to tell by mail; null: nobody
  promise_json text,
  stale_at bigint,                   -- end of the promise told
  attempts bigint not null default 0, -- counted
  tries bigint not null default 0,    -- all; attempt_no of the latest
  owner text,
  epoch bigint not null default 0,
  lease_until bigint,
  parent text,
  -- Consent: what was asked for, from where, when; for this one purpose.
  consent_at bigint not null,
  consent_address text,
  accepted_at bigint not null,
  ended_at bigint,
  created_at bigint not null
);
create index request_next on request (queue, rank, place_at, id) where state = 'waiting';
create index request_timer on request (not_before) where state in ('scheduled', 'backoff', 'held');
create index request_later on request (not_before) where state = 'waiting';
create index request_open on request (queue, state) where open = 1;
create index request_owned on request (owner) where owner is not null;
create index request_number on request (number, created_at);
-- A talk in progress does not stop the customer from asking again.
create unique index request_one_open on request (queue, number)
  where open = 1 and state <> 'connected';

create table attempt (
  id text primary key,
  request_id text not null references request (id),
  queue text not null,
  attempt_no bigint not null,
  epoch bigint not null,
  node text not null,
  trunk text not null,
  number text not null,
  call_id text not null unique,
  state text not null check (state in ('placing', 'ringing', 'answered', 'connected', 'ended')),
  live bigint not null check ((state = 'ended') = (live = 0)),
  settled text,                      -- what the flow settled before the end, durable at once
  settled_at bigint,                 -- the time chosen, for 'later'
  disposition text,
  sip_code bigint,
  q850 bigint,
  ring_limit_ms bigint not null,
  intent_at bigint not null,
  ring_at bigint,
  answer_at bigint,
  end_at bigint,
  unique (request_id, attempt_no)
);
create unique index attempt_one_per_request on attempt (request_id) where live = 1;
create unique index attempt_one_per_number on attempt (number) where live = 1;
create index attempt_trunk on attempt (trunk) where live = 1;
create index attempt_ended on attempt (queue, end_at) where answer_at is not null;

-- Calls of people who phone in; a number on such a call is not dialled.
create table inbound (
  id text primary key,
  call_id text not null unique,
  node text not null,
  number text,
  live bigint not null,
  created_at bigint not null,
  ended_at bigint
);
create index inbound_live on inbound (number) where live = 1;

create table trunk (
  id text primary key,
  enabled bigint not null,
  max_channels bigint not null,
  interval_ms bigint not null,
  burst_ms bigint not null,
  tat bigint not null default 0,     -- theoretical arrival time of the call rate
  failures bigint not null default 0,
  failed_at bigint not null default 0,
  opens bigint not null default 0,
  open_until bigint not null default 0,
  created_at bigint not null
);

-- Every rate limit: the theoretical arrival time of the next one.
create table bucket (
  key text primary key,
  tat bigint not null,
  created_at bigint not null
);

create table intake_key (
  scope text not null,
  key text not null,
  body_hash text not null,
  request_id text,
  answer text,
  created_at bigint not null,
  primary key (scope, key)
);
create index intake_key_age on intake_key (created_at);

-- Numbers nobody may call; "until" null: until lifted.
create table suppressed (
  number_hash text primary key,
  until bigint,
  reason text not null,
  created_at bigint not null
);

create table outbox (
  id text primary key,
  about text not null,
  kind text not null,
  seq bigint not null,
  body_json text not null,
  locale text not null,
  to_addr text not null,
  message_id text not null,
  rendered bytea,
  state text not null check (state in ('pending', 'sending', 'deferred', 'sent', 'failed', 'suppressed')),
  attempts bigint not null default 0,
  next_at bigint not null,
  stale_at bigint,
  last_error text,
  epoch bigint not null default 0,
  lease_until bigint,
  created_at bigint not null,
  sent_at bigint,
  unique (about, kind, seq)
);
create index outbox_due on outbox (next_at) where state in ('pending', 'sending', 'deferred');

create table mail_in (
  id text primary key,
  peer text not null,
  helo text not null,
  mail_from text,
  rcpt text not null,                -- JSON array
  raw bytea,
  size_bytes bigint not null,
  state text not null check (state in ('spooled', 'working', 'done', 'quarantined')),
  attempts bigint not null default 0,
  epoch bigint not null default 0,
  lease_until bigint,
  kind text,                         -- request needs_info machine duplicate refused quarantine
  reason text,
  content_hash text,
  request_id text,
  created_at bigint not null,
  moved_at bigint
);
create index mail_in_next on mail_in (created_at, id) where state in ('spooled', 'working');

-- Content of mail that was filed; a copy is not worked on twice.
create table mail_seen (
  content_hash text primary key,
  mail_in_id text not null,
  created_at bigint not null
);

create table call_trace (
  call_id text not null,
  seq bigint not null,
  direction text not null check (direction in ('in', 'out')),
  at_ms bigint not null,             -- since the answer
  node text not null,
  kind text not null,
  data text not null,
  created_at bigint not null,
  primary key (call_id, seq)
);
