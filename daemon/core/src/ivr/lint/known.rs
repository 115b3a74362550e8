//! What flows name and the configuration must have: queues, mailboxes, opening hours,
//! values of `env`, hosts, sound files.

use std::collections::BTreeSet;

use crate::ivr::fault::{Place, Report, hint};
use crate::ivr::flow::{Known, files};
use crate::ivr::model::{Act, Code, Flow, Named, Order, Part, Request, all_codes};

/// Checks one flow against the configuration.
pub(super) fn check(flow: &Flow, known: &Known, report: &mut Report) {
    let mut check = Check { flow, report };
    if let Some(calendar) = &flow.calendar {
        check.named(calendar, known.calendars.as_ref(), "calendar", "[calendar]");
    }
    for node in &flow.nodes {
        match &node.act {
            Act::Enqueue { queue, .. } => {
                check.queue(queue, node.at, known);
            }
            Act::Callback {
                order: Order::Request { queue, .. },
                ..
            } => check.queue(queue, node.at, known),
            Act::Voicemail { mailbox, .. } => {
                check.named(mailbox, known.mailboxes.as_ref(), "mailbox", "[[mailbox]]");
            }
            Act::Http { request, .. } | Act::Webhook { request, .. } => {
                check.host(request, known);
            }
            _ => {}
        }
    }
    for file in files(flow) {
        check.file(file, known);
    }
    for code in all_codes(flow) {
        check.fields("env", code, known.env.as_ref(), "name", "ivr.env");
        check.fields("queues", code, known.queues.as_ref(), "queue", "[[queue]]");
    }
}

struct Check<'a> {
    flow: &'a Flow,
    report: &'a mut Report,
}

impl Check<'_> {
    fn fault(&mut self, at: Place, message: String) {
        self.report.add(&self.flow.file, at, "E118", message);
    }

    fn missing(&mut self, name: &str, at: Place, known: &BTreeSet<String>, what: &str, key: &str) {
        if !known.contains(name) {
            let near = hint(name, known.iter().map(String::as_str));
            self.fault(at, format!("{key} has no {what} \"{name}\"{near}"));
        }
    }

    fn named(&mut self, named: &Named, known: Option<&BTreeSet<String>>, what: &str, key: &str) {
        if let Some(known) = known {
            self.missing(&named.name, named.at, known, what, key);
        }
    }

    /// A queue that is named plainly; one that a value names is looked for in the call.
    fn queue(&mut self, queue: &[Part], at: Place, known: &Known) {
        if let (Some(known), [Part::Text(name)]) = (&known.queues, queue) {
            self.missing(name, at, known, "queue", "[[queue]]");
        }
    }

    fn file(&mut self, file: &Named, known: &Known) {
        if let Some(files) = &known.files
            && !files.contains(&file.name)
        {
            let near = hint(&file.name, files.iter().map(String::as_str));
            let name = &file.name;
            let message = format!("there is no sound file prompts/{name}{near}");
            self.report.add(&self.flow.file, file.at, "E107", message);
        }
    }

    /// The host of an address that is written out.
    fn host(&mut self, request: &Request, known: &Known) {
        let Some(Part::Text(text)) = request.url.first() else {
            return;
        };
        let after = text.split_once("://").map(|(_, after)| after);
        let Some(after) = after else {
            let message = "an address begins with http:// or https://".to_owned();
            return self.fault(request.at, message);
        };
        let host = after.split(['/', '?', '#']).next().unwrap_or_default();
        if let Some(hosts) = &known.hosts {
            self.missing(host, request.at, hosts, "host", "ivr.http_hosts");
        }
    }

    /// What an expression reads of `env` or `queues`.
    fn fields(
        &mut self,
        of: &str,
        code: &Code,
        known: Option<&BTreeSet<String>>,
        what: &str,
        key: &str,
    ) {
        let Some(known) = known else {
            return;
        };
        for name in code.expr.fields_of(of) {
            self.missing(name, code.at, known, what, key);
        }
    }
}
