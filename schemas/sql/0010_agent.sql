-- People who take calls. Who they are is configured; what they do is kept here.
create table agent (
  name text primary key,
  enabled bigint not null,
  phone text not null,
  state text not null check (state in
    ('offline','available','ringing','talking','wrapup','break','lagged')),
  reason text,                       -- no_answer declined
  wanted text,                       -- state asked for meanwhile
  missed bigint not null,            -- offers in a row not taken
  since bigint not null,
  until bigint,                      -- the state ends by itself
  node text,                         -- where the telephone is registered
  serves text                        -- the request, or the caller's Call-ID
);
create table agent_queue (agent text not null, queue text not null, primary key (queue, agent));
create table agent_skill (agent text not null, skill text not null, primary key (agent, skill));

-- What whoever takes the request has to know, and who should.
alter table request add column skill text not null default '';
alter table request add column prefers text;
alter table request add column prefers_until bigint;
alter table attempt add column agent text;

-- Whether the customer's own call named the number, and what else proves who answers.
alter table request add column proven bigint not null default 0;
alter table request add column pin text;
