-- What was expected when the promise was made, and what became of it: bounds learn from the
-- difference, one mail at most corrects it, and whoever was promised a time that passed is
-- moved forward once.
alter table request add column estimate_json text;
alter table request add column corrected bigint not null default 0;
alter table request add column missed bigint not null default 0;

-- What a daemon that starts learns its estimates from.
drop index attempt_ended;
create index attempt_over on attempt (queue, end_at) where live = 0;
create index attempt_first on attempt (queue, intent_at) where attempt_no = 1;
create index request_withdrawn on request (queue, ended_at) where state = 'cancelled';
create index inbound_served on inbound (queue, ended_at) where served_at is not null;
