-- What calls look for: customers by address, and calls by the flow that served them.
create index request_email on request (email, created_at) where email is not null;
create index request_address on request (consent_address, created_at)
  where consent_address is not null;
alter table call_trace add column flow text not null default '';
