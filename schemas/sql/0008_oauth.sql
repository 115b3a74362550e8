-- Who logged in to send a message.
alter table mail_in add column auth_user text;
