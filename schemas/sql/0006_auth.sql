-- What the checks of a message's origin gave (SPF, DKIM, DMARC), as JSON; null: nothing was checked.
alter table mail_in add column auth text;
